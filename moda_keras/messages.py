"""Short, printable text for errors and warnings."""

import unicodedata
from collections.abc import Iterable
from itertools import islice
from typing import Any

# The maximum number of names that a message lists, and of characters of one of them.
SHOWN = 20
LONGEST_NAME = 100
# Directions of text can be overridden invisibly: U+202A to U+202E and U+2066 to U+2069.
_OVERRIDES = {*range(0x202A, 0x202F), *range(0x2066, 0x206A)}
_CONTROLS = ("Cc", "Cs", "Zl", "Zp")


def listed(values: Iterable[Any], most: int = SHOWN) -> str:
    """A list as text, with the first values and the number of the others.

    Args:
        values: Names, numbers, or anything with a `repr`.
        most: How many to show.

    Returns:
        Text of limited length.

    Examples:
        >>> from moda_keras.messages import listed
        >>> listed(["cat", "dog"]), listed(range(100), most=3)
        ("['cat', 'dog']", '[0, 1, 2, ... and 97 more]')
    """
    values = list(values)
    shown = [shortened(repr(each), LONGEST_NAME) for each in islice(values, most)]
    if len(values) > most:
        shown.append(f"... and {len(values) - most:,} more")
    return f"[{', '.join(shown)}]"


def shortened(text: Any, longest: int) -> str:
    """Text in one printable line of limited length.

    Args:
        text: Anything with a `str`.
        longest: The number of characters after which it is cut.

    Returns:
        Text without control characters.
    """
    # Text of many megabytes is cut before it is looked at.
    text = str(text)[: 4 * longest]
    line = " ".join(printable(each) for each in text.split())
    return line if len(line) <= longest else f"{line[:longest]} ..."


def printable(text: str) -> str:
    r"""Text in which characters that control a terminal are escaped.

    Examples:
        >>> from moda_keras.messages import printable
        >>> printable("red: \x1b[31m")
        'red: \\x1b[31m'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(repr(each)[1:-1] if _is_control(each) else each for each in text)


def is_printable(text: str) -> bool:
    """Whether no character of a text controls a terminal, as escape sequences do."""
    return text.isprintable() or not any(map(_is_control, text))


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in _CONTROLS or ord(character) in _OVERRIDES
