"""Counts by idea and verdict, as a table in Markdown."""

from collections import Counter
from collections.abc import Iterable

from odd_layers.catalogue import INLINED, KNOWN, REFUSED, WHOLE, Entry

VERDICTS = {INLINED: "seen through", KNOWN: "one of Keras's", WHOLE: "whole", REFUSED: "refused"}


def table(entries: Iterable[Entry]) -> str:
    """The counts of layers."""
    entries = list(entries)
    counts = Counter((entry.idea, entry.verdict) for entry in entries)
    ideas = dict.fromkeys(entry.idea for entry in entries)
    rows = [[idea, *(counts[idea, verdict] for verdict in VERDICTS)] for idea in ideas]
    rows.append(["all", *(sum(row[i] for row in rows) for i in range(1, len(VERDICTS) + 1))])
    lines = [["idea", *VERDICTS.values()], ["---"] * (len(VERDICTS) + 1), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
