"""Findings, and the checks that make them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from moda_keras.diagnosis.evidence import Evidence


@dataclass(frozen=True)
class Finding:
    """A sign of modules that could be better.

    Attributes:
        sign: One of "accuracy", "collapse", "samples", "overlap", "size", "refill", "epsilon",
            "unseen", "objectives".
        severity: "problem", or "warning" for what may be intended.
        figures: What was measured, by name; "limit" is the value it was compared with.
        message: One or two sentences on what was found.
        remedy: What to do about it.
    """

    sign: str
    severity: str
    figures: Mapping[str, float]
    message: str
    remedy: str


@dataclass(frozen=True)
class Check:
    """A check for one sign.

    Attributes:
        sign: As in `Finding`.
        looks_for: The sign in words.
        needs: What the check needs: "nothing", "counts" (of `decompose`), "test data" or "history".
        find: Yields the findings.
    """

    sign: str
    looks_for: str
    needs: str
    find: Callable[[Evidence], Iterator[Finding]]
