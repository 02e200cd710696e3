"""Writes `docs/reference/commands.md`: all commands of `moda` with their arguments and options.

python docs/command_reference.py
"""

import inspect
import re
from pathlib import Path
from typing import Any

import typer

from moda_keras.cli.app import app

PAGE = Path(__file__).parent / "reference" / "commands.md"
INTRODUCTION = """# Commands

Every command of `moda` (also `python -m moda_keras`), as `moda COMMAND --help` shows it.
[How they work together](../command-line.md). Made by `python docs/command_reference.py`.
"""


def page() -> str:
    """The text of the page."""
    group = typer.main.get_command(app)
    sections = [INTRODUCTION, "## moda\n", _table(group)]
    for name, command in group.commands.items():
        if not command.hidden:
            sections += [f"## moda {name}\n", _help(command), _table(command)]
    return "\n".join(section for section in sections if section)


def _help(command: Any) -> str:
    text = inspect.cleandoc(command.help or "").replace("\b", "").replace("\f", "")
    return f"{text}\n"


def _table(command: Any) -> str:
    rows = [_row(each) for each in command.params if not getattr(each, "hidden", False)]
    if not rows:
        return ""
    lines = ["| argument or option | default | |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def _row(parameter: Any) -> tuple[str, str, str]:
    is_option = parameter.param_type_name == "option"
    names = [*parameter.opts, *parameter.secondary_opts] if is_option else [parameter.name.upper()]
    default = parameter.default
    is_shown = default is not None and default != () and not callable(default)
    is_shown = is_shown and "Sentinel" not in type(default).__name__ and default is not False
    text = re.sub(r"\s+", " ", getattr(parameter, "help", None) or "").strip()
    shown = f"`{default}`" if is_shown else ("required" if parameter.required else "")
    return ", ".join(f"`{name}`" for name in names), shown, text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
