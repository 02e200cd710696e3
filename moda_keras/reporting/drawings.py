"""Matplotlib figures as SVG for the page, in its colours and its font."""

import io
import re
from collections.abc import Callable

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Colours of the page's light look, and the CSS variables that replace them.
VARIABLES = {
    "#18212d": "var(--ink)",
    "#566274": "var(--muted)",
    "#d9dfe7": "var(--line)",
    "#2c6cb3": "var(--accent)",
    "#b9501a": "var(--second)",
    "#3d7a55": "var(--third)",
}
INK, MUTED, LINE, *LINES = VARIABLES
STYLE = {
    "svg.fonttype": "none",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "grid.color": MUTED,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": mpl.cycler(color=LINES),
}
# The XML prolog, ids that would repeat on the page, and namespaces, which HTML does not need.
SUPERFLUOUS = re.compile(r'^.*?(?=<svg)|(?<=<g) id="[^"]*"| xmlns(:xlink)?="[^"]*"', re.DOTALL)


def drawing(draw: Callable[[Axes], object], size: tuple[float, float], label: str) -> Markup:
    """A figure as an SVG element that follows the page's light, dark and printed looks.

    Args:
        draw: Draws into the axes it is given, such as a function of `moda_keras.plots`.
        size: Width and height in inches.
        label: What a screen reader says.

    Returns:
        The element; the same for the same figure.
    """
    with mpl.rc_context({**STYLE, "svg.hashsalt": label}):
        figure = Figure(size, layout="constrained")
        axes = figure.add_subplot()
        draw(axes)
        axes.set_title("")  # the page has headings
        file = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    svg = SUPERFLUOUS.sub("", file.getvalue())
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, variable)
    return Markup(svg.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1))
