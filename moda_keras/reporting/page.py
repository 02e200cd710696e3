"""The page of a report, from its template."""

import math
import re
from typing import Any

import numpy as np

from moda_keras.reporting import charts
from moda_keras.reporting.report_data import ReportData

try:
    import jinja2
    from markupsafe import Markup, escape
except ImportError as error:
    raise ImportError(
        "Reports need jinja2, which is not installed. Install it with: "
        'pip install "moda-keras[report]"'
    ) from error

# Of more classes, tables can be searched and scroll.
MANY_CLASSES = 12
# Pairs that are listed with what they share.
LISTED_PAIRS = 10
# Measured compositions that the page knows by heart, to bound its size.
MAX_MEASURED = 2000


def render(data: ReportData) -> str:
    """The page.

    Args:
        data: What it says.

    Returns:
        HTML.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("moda_keras.reporting", "template"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "points": points,
        "prose": prose,
        "count": count,
        "sig": significant,
    }
    environment.tests["known"] = _is_known
    environment.policies["json.dumps_kwargs"] = {"sort_keys": True, "allow_nan": False}
    return environment.get_template("report.html.jinja").render(
        data=data,
        overview=_overview(data),
        heatmap=charts.heatmap(data.overlap, data.modules.class_names),
        pairs=_top_pairs(data),
        curve=charts.threshold_chart(data.curve, data.modules.threshold),
        many=data.modules.num_classes > MANY_CLASSES,
        composition=finite(_composition(data)),
        scale_size=_maximum([each.size for each in data.classes]),
        scale_flops=_maximum([each.flops for each in data.classes]),
        lowest_accuracy=_lowest_accuracy(data),
        errors=data.accuracy.errors if data.accuracy else [],
    )


def percent(share: float, digits: int = 1) -> str:
    """A share as "12.3 %"; a dash if it is not known."""
    return f"{100 * share:.{digits}f} %" if _is_known(share) else "–"  # noqa: RUF001


def prose(text: str) -> Markup:
    """A message in HTML: what is between backticks is code, and numbers keep their unit."""
    escaped = str(escape(text)).replace(" %", "\u00a0%")
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", escaped))


def points(share: float) -> str:
    """A difference of shares, in points of percent."""
    return f"{100 * share:.1f}"


def count(number: float) -> str:
    """A whole number with thousands apart."""
    return f"{number:,.0f}".replace(",", "\u202f")


def short(number: float) -> str:
    """A number in three figures: "156 k", "34.0 M"."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            value = number / size
            return f"{value:.{max(0, 2 - int(math.log10(value)))}f}\u202f{unit}"
    return f"{number:.0f}"


def significant(number: float) -> str:
    """A figure of a finding: counts as they are, else four significant figures."""
    return count(number) if float(number).is_integer() else f"{number:.4g}"


def finite(data: Any) -> Any:
    """The data with None for numbers that JSON has not: NaN and infinity.

    Args:
        data: Dicts, lists and tuples of strings, numbers, bools and None.

    Returns:
        The same, with lists for tuples.
    """
    if isinstance(data, dict):
        return {key: finite(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def _is_known(value: Any) -> bool:
    return value is not None and math.isfinite(value)


def _maximum(values: list[float]) -> float:
    known = [value for value in values if _is_known(value)]
    return max(known, default=0.0) or 1.0


def _overview(data: ReportData) -> list[tuple[str, str, str]]:
    """Triples of a figure, what it is and a remark."""
    modules, costs = data.modules, data.costs
    present = len(modules.classes_with_modules())
    sizes = [each.size for each in data.classes if _is_known(each.size)]
    without = modules.num_classes - present
    tiles = [
        (short(costs.parameters), "trainable parameters", ""),
        (short(costs.flops) if costs.flops else "–", "multiply-accumulates", ""),  # noqa: RUF001
        (str(modules.num_classes), "classes", f"{without} without a module" if without else ""),
        (modules.threshold_label, "tau", ""),
        (percent(float(np.mean(sizes))), "mean module size", "of the model's parameters"),
        (percent(data.mean_overlap), "mean overlap", "weights two modules share"),
    ]
    if data.accuracy:
        used = f"{count(data.samples)} test samples"
        everyone = data.accuracy.classes
        tiles += [
            (percent(data.accuracy.full.accuracy(range(modules.num_classes))),
             "accuracy of the full model", used),
            (percent(data.accuracy.together.accuracy(everyone)),
             "accuracy, all modules composed", used),
        ]  # fmt: skip
    return tiles


def _top_pairs(data: ReportData) -> list[tuple[str, str, float]]:
    names, overlap = data.modules.class_names, data.overlap
    rows, columns = np.triu_indices(len(names), k=1)
    values = np.nan_to_num(overlap[rows, columns], nan=-1)
    order = np.argsort(-values, kind="stable")[:LISTED_PAIRS]
    return [(names[rows[i]], names[columns[i]], float(values[i])) for i in order if values[i] >= 0]


def _lowest_accuracy(data: ReportData) -> float:
    """Where the axis of accuracies begins: a multiple of 10 % below all of them."""
    values = [v for c in data.classes for v in (c.before, c.after, c.in_pairs) if _is_known(v)]
    return max(0.0, math.floor(10 * min(values, default=0.0) - 0.2) / 10)


def _composition(data: ReportData) -> dict[str, Any]:
    """What the script of the page works with."""
    expected = data.accuracy
    measured = {
        tuple(sorted(row["classes"])): row
        for row in data.subtask_rows
        if _is_known(row["accuracy"])
    }
    known = measured if len(measured) <= MAX_MEASURED else {}
    result = {
        "names": list(data.modules.class_names),
        "present": data.modules.classes_with_modules().tolist(),
        "costs": data.costs.to_json(),
        "measured": {
            f"{sum(1 << int(c) for c in subtask):x}": [
                round(float(row["accuracy"]), 5), round(float(row["full_accuracy"]), 5)
            ]
            for subtask, row in known.items()
        },
        "accuracy": None,
    }  # fmt: skip
    if expected:
        errors = expected.errors
        result["accuracy"] = {
            "full": expected.full.to_json(),
            "together": expected.together.to_json(),
            "pairs": expected.pairs and expected.pairs.to_json(),
            "classes": len(expected.classes),
            "errors": len(errors),
            "meanError": float(np.mean(errors)) if errors else None,
            "worstError": max(errors, default=None),
        }
    return result
