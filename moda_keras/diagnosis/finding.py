"""Findings, and the checks that make them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from moda_keras.diagnosis.evidence import Evidence
from moda_keras.html_table import html_table


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


class Findings(list[Finding]):
    """A list of findings, which notebooks show as a table."""

    def _repr_html_(self) -> str:
        rows = [[each.sign, each.severity, each.message, each.remedy] for each in self]
        return html_table(
            f"{len(self)} findings" if self else "Nothing found",
            ["sign", "severity", "what was found", "what to do"],
            rows,
        )


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
