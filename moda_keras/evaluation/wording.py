"""Numbers and lists as messages show them."""

import math
from collections.abc import Sequence

# How many names a message lists.
NAMED = 3


def percent(share: float | None, digits: int = 1, unknown: str = "-") -> str:
    """A fraction in percent: 0.123 is "12.3 %".

    Args:
        share: The fraction; None or NaN if it is not known.
        digits: Digits after the decimal point.
        unknown: What to return for an unknown fraction.

    Returns:
        Str.
    """
    is_unknown = share is None or math.isnan(share)
    return unknown if is_unknown else f"{points(share, digits)} %"


def points(share: float, digits: int = 1) -> str:
    """A difference of fractions in percentage points, without a unit: 0.123 is "12.3"."""
    return f"{100 * share:.{digits}f}"


def listed(names: Sequence[str], shown: int = NAMED) -> str:
    """The first names, and how many more there are: "cat, dog, frog and 2 more"."""
    text = ", ".join(names[:shown])
    return text if len(names) <= shown else f"{text} and {len(names) - shown} more"
