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
    lines = [f"<p>{escape(title)}</p>", '<table style="border-collapse:collapse">']
    lines.append(_row("th", [*map(escape, header), *([""] if shares else [])]))
    for index, row in enumerate(rows):
        share = shares[index] if shares else None
        bar = [] if not shares else [_BAR.format(100 * share) if share is not None else ""]
        lines.append(_row("td", [*map(escape, row), *bar]))
    lines.append("</table>")
    if note:
        lines.append(f"<p>{escape(note)}</p>")
    return "\n".join(lines)


def _row(tag: str, cells: Sequence[str]) -> str:
    styles = [_CELL.format("left"), *[_CELL.format("right")] * (len(cells) - 1)]
    made = [f'<{tag} style="{s}">{c}</{tag}>' for s, c in zip(styles, cells, strict=True)]
    return f"<tr>{''.join(made)}</tr>"
