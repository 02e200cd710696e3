"""Small tables for notebooks."""

from collections.abc import Sequence
from html import escape

_CELL = "padding:2px 10px;text-align:{}"
_BAR = (
    '<div style="background:#8884;width:120px;height:10px">'
    '<div style="background:#4b7bec;width:{:.0f}%;height:10px"></div></div>'
)


def html_table(
    title: str,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    shares: Sequence[float | None] | None = None,
    note: str = "",
) -> str:
    """A table in HTML, without script and without outside resources.

    Args:
        title: A sentence above the table.
        header: Titles of the columns.
        rows: Texts of the cells. All texts are escaped.
        shares: A float in [0, 1] for each row, drawn as a bar behind it; None for no bar.
        note: A sentence below the table.

    Returns:
        HTML.

    Examples:
        >>> from moda_keras.html_table import html_table
        >>> "&lt;b&gt;" in html_table("Pets", ["class"], [["<b>"]])
        True
    """
    lines = [f"<p>{escape(title)}</p>"]
    if rows:
        bars = [[] if shares is None else [_bar(share)] for share in shares or [None] * len(rows)]
        sides = [
            "right" if _is_of_numbers(column) else "left" for column in zip(*rows, strict=True)
        ]
        sides += [] if shares is None else ["left"]
        lines.append('<table style="border-collapse:collapse">')
        lines.append(_row("th", [*map(escape, header), *([] if shares is None else [""])], sides))
        for row, bar in zip(rows, bars, strict=True):
            lines.append(_row("td", [*map(escape, row), *bar], sides))
        lines.append("</table>")
    if note:
        lines.append(f"<p>{escape(note)}</p>")
    return "\n".join(lines)


def _bar(share: float | None) -> str:
    return "" if share is None else _BAR.format(100 * share)


def _is_of_numbers(column: Sequence[str]) -> bool:
    return all(text[:1].isdigit() or text in ("", "-", "...") for text in column)


def _row(tag: str, cells: Sequence[str], sides: Sequence[str]) -> str:
    made = [
        f'<{tag} style="{_CELL.format(side)}">{cell}</{tag}>'
        for cell, side in zip(cells, sides, strict=True)
    ]
    return f"<tr>{''.join(made)}</tr>"
