"""Summaries of experiments as tables."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from moda_keras.cli.terminal import rows_table

if TYPE_CHECKING:
    from rich.table import Table


def summary_table(title: str, rows: Sequence[dict[str, Any]]) -> "Table":
    """A summary as a table for the terminal.

    Args:
        title: Its title.
        rows: As of `Experiment.summary`.

    Returns:
        A rich table.
    """
    names = _columns(rows)
    return rows_table(title, names, [[_cell(row, name) for name in names] for row in rows])


def markdown_table(rows: Sequence[dict[str, Any]]) -> str:
    """A summary as a Markdown table.

    Args:
        rows: As of `Experiment.summary`.

    Returns:
        Str of several lines.
    """
    names = _columns(rows)
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(_cell(row, name) for name in names) + " |" for row in rows]
    return "\n".join(lines)


def _columns(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Names of the columns of any row, in order; deviations are shown behind their means."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [name for name in names if not name.endswith("_sd")]


def _cell(row: dict[str, Any], name: str) -> str:
    value, deviation = row.get(name), row.get(f"{name}_sd")
    if value is None:
        return ""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4g}" + (f" ± {deviation:.2g}" if deviation else "")
