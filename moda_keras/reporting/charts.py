"""Where the parts of the page's drawings are; what they look like is the template's."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from moda_keras.reporting.overlap_image import matrix_as_png

# Of more classes a matrix has no labels, and is an image.
LABELLED_CLASSES = 30
# Of more classes the cells have no numbers.
NUMBERED_CLASSES = 12
# The accent colour of the page, between those of its light and dark looks.
ACCENT = (63, 129, 201)
# A character is this wide, in heights of the font.
CHARACTER = 0.58


def heatmap(values: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """A symmetric matrix of shares.

    Args:
        values: Float array (C, C); NaN where there is none.
        names: C names.

    Returns:
        Dict of what the template draws.
    """
    top = float(np.nanmax(values)) if np.isfinite(values).any() else 0.0
    shares = values / (top or 1.0)
    number = len(names)
    if number > LABELLED_CLASSES:
        return {"image": matrix_as_png(shares, ACCENT), "top": top, "size": number}
    font = 13
    is_numbered = number <= NUMBERED_CLASSES
    cell = 46 if is_numbered else 24
    shown = [name if len(name) <= 16 else f"{name[:15]}…" for name in names]
    margin = round(max(len(name) for name in shown) * font * CHARACTER) + 12
    return {
        "image": None,
        "top": top,
        "size": number,
        "cell": cell,
        "left": margin,
        "width": margin + cell * number + 4,
        # Names of columns are turned, and may reach beyond the last row.
        "height": cell * number + margin + 4,
        "names": shown,
        "is_numbered": is_numbered,
        "cells": [
            {
                "row": row,
                "column": column,
                "value": float(values[row, column]),
                "share": float(shares[row, column]),
                "label": f"{names[row]} and {names[column]}",
            }
            for row in range(number)
            for column in range(number)
            if np.isfinite(values[row, column])
        ],
    }


def threshold_chart(
    rows: Sequence[Mapping[str, Any]], threshold: float | Mapping[str, float] | None
) -> dict[str, Any] | None:
    """Lines of accuracy and size against tau.

    Args:
        rows: Rows of `threshold_curve`, at least two.
        threshold: Tau of the modules at hand; marked if it is one number.

    Returns:
        Dict of what the template draws, or None for fewer rows.
    """
    if len(rows) < 2:
        return None
    width, height, left, right, top, bottom = 680, 330, 46, 116, 12, 44
    taus = [float(row["threshold"]) for row in rows]
    low, high = min(taus), max(taus)

    def x(tau: float) -> float:
        return round(left + (tau - low) / (high - low) * (width - left - right), 1)

    def y(share: float) -> float:
        return round(top + (1 - share) * (height - top - bottom), 1)

    columns = {
        "composed": "reuse_accuracy", "full model": "full_accuracy", "module size": "module_size"
    }  # fmt: skip
    lines = [
        {
            "name": name,
            "points": [(x(tau), y(row[key])) for tau, row in zip(taus, rows, strict=True)],
        }
        for name, key in columns.items()
    ]
    ends = _apart([line["points"][-1][1] for line in lines], distance=17)
    for line, end in zip(lines, ends, strict=True):
        line["label_y"] = end
    is_one = isinstance(threshold, (int, float)) and low <= threshold <= high
    step = 0.1 if high - low > 0.35 else 0.05
    ticks = np.arange(np.ceil(low / step - 1e-9) * step, high + 1e-9, step)
    return {
        "width": width,
        "height": height,
        "left": left,
        "right": width - right,
        "top": top,
        "bottom": height - bottom,
        "lines": lines,
        "x_ticks": [(x(tau), f"{tau:.2g}") for tau in ticks],
        "y_ticks": [(y(share), f"{100 * share:.0f} %") for share in np.linspace(0, 1, 6)],
        "marked": x(threshold) if is_one else None,
        "threshold": threshold if is_one else None,
    }


def _apart(places: Sequence[float], distance: float) -> list[float]:
    """The places, moved down where they are closer than a distance."""
    order = np.argsort(places, kind="stable")
    moved = list(places)
    for before, after in pairwise(order):
        moved[after] = max(moved[after], moved[before] + distance)
    return [round(place, 1) for place in moved]
