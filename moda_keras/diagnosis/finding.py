"""What a diagnosis finds."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """A sign that something is amiss.

    Attributes:
        sign: Which: one of "accuracy", "overlap", "objectives", "size", "samples", "collapse",
            "refill", "epsilon".
        severity: "problem", or "warning" for what may be as it should.
        figures: What was measured, by name, and under "limit" what it was compared with.
        message: One or two sentences that say what is amiss.
        remedy: What to do about it.
    """

    sign: str
    severity: str
    figures: Mapping[str, float]
    message: str
    remedy: str
