"""Words and numbers of findings."""

from collections.abc import Sequence

# How many names a message lists.
NAMED = 3


def listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(names[:NAMED])
    return shown if len(names) <= NAMED else f"{shown} and {len(names) - NAMED} more"


def percent(share: float) -> str:
    """A share of 0.123 as "12.3 %"."""
    return f"{100 * share:.1f} %"


def points(share: float) -> str:
    """A share of 0.123 as "12.3", percentage points."""
    return f"{100 * share:.1f}"


def counted(number: int, noun: str) -> str:
    """How many of something: "3 epochs", or just "epoch" for one."""
    return noun if number == 1 else f"{number} {noun}s"
