"""Options that take one of a few values."""

from collections.abc import Sequence

import typer


def require_choice(option: str, value: str | None, choices: Sequence[str]) -> None:
    """Raises an error of usage if an option is given that is none of the choices.

    Args:
        option: Its name, such as "--network".
        value: What was given; None if it was not.
        choices: What it may be.
    """
    if value is not None and value not in choices:
        raise typer.BadParameter(
            f"Expected {option} out of {', '.join(choices)}. Received: {value}"
        )
