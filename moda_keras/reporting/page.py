"""Renders the page of a report from its template."""

import math
import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from moda_keras.reporting.report_data import ReportData

try:
    import jinja2
    from markupsafe import Markup, escape

    from moda_keras.reporting import plots
    from moda_keras.reporting.drawings import drawing
except ImportError as error:
    raise ImportError(
        'Reports need jinja2 and matplotlib. Install them with: pip install "moda-keras[report]"'
    ) from error

# With more classes, tables scroll and can be searched.
MANY_CLASSES = 12
# With more classes, the overlap is drawn as an image instead of a table.
TABLED_CLASSES = 30
# Pairs in the list of those that share most.
LISTED_PAIRS = 10


def render(data: ReportData) -> str:
    """Renders the page.

    Args:
        data: The contents.

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
        overlap_drawing=_overlap_drawing(data),
        highest_overlap=_maximum(data.overlap.flat),
        pairs=_top_pairs(data),
        curve=_curve_drawing(data),
        many=data.modules.num_classes > MANY_CLASSES,
        composition=finite(_composition(data)),
        scale_size=_maximum([each.size for each in data.classes]),
        scale_flops=_maximum([each.flops for each in data.classes]),
        lowest_accuracy=_lowest_accuracy(data),
        errors=data.accuracy.errors if data.accuracy else [],
    )


def percent(share: float, digits: int = 1) -> str:
    """A share as "12.3 %"; a dash if it is unknown."""
    return f"{100 * share:.{digits}f} %" if _is_known(share) else "–"  # noqa: RUF001


def prose(text: str) -> Markup:
    """A message in HTML: text between backticks is code, and "%" stays with its number."""
    escaped = str(escape(text)).replace(" %", "\u00a0%")
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", escaped))


def points(share: float) -> str:
    """A difference of shares in percentage points."""
    return f"{100 * share:.1f}"


def count(number: float) -> str:
    """A whole number with thousands separated."""
    return f"{number:,.0f}".replace(",", "\u202f")


def short(number: float) -> str:
    """A number with three significant figures: "156 k", "34.0 M"."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            value = number / size
            return f"{value:.{max(0, 2 - int(math.log10(value)))}f}\u202f{unit}"
    return f"{number:.0f}"


def significant(number: float) -> str:
    """A figure of a finding: counts in full, others with four significant figures."""
    return count(number) if float(number).is_integer() else f"{number:.4g}"


def finite(data: Any) -> Any:
    """The data with None for NaN and infinity, which JSON does not have.

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


def _maximum(values: Iterable[float]) -> float:
    known = [value for value in values if _is_known(value)]
    return max(known, default=0.0) or 1.0


def _overview(data: ReportData) -> list[tuple[str, str, str]]:
    """Triples of a figure, its name and a remark."""
    modules, costs = data.modules, data.costs
    present = len(modules.classes_with_modules())
    sizes = [each.size for each in data.classes if _is_known(each.size)]
    without = modules.num_classes - present
    tiles = [
        (short(costs.parameters), "parameters", ""),
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


def _overlap_drawing(data: ReportData) -> Markup | None:
    if data.modules.num_classes <= TABLED_CLASSES:
        return None
    label = "Weights that each two modules share; the pairs that share most are listed below"
    return drawing(lambda ax: plots.plot_overlap(data.modules, ax), (6, 5), label)


def _curve_drawing(data: ReportData) -> Markup | None:
    if len(data.curve) < 2:
        return None
    tau, taus = data.modules.threshold, [row["threshold"] for row in data.curve]
    mark = tau if isinstance(tau, float) and min(taus) <= tau <= max(taus) else None
    label = "Accuracy and module size against tau; the table below has the same figures"
    return drawing(
        lambda ax: plots.plot_threshold_curve(data.curve, ax, threshold=mark), (7, 3.4), label
    )


def _top_pairs(data: ReportData) -> list[tuple[str, str, float]]:
    names, overlap = data.modules.class_names, data.overlap
    rows, columns = np.triu_indices(len(names), k=1)
    values = np.nan_to_num(overlap[rows, columns], nan=-1)
    order = np.argsort(-values, kind="stable")[:LISTED_PAIRS]
    return [(names[rows[i]], names[columns[i]], float(values[i])) for i in order if values[i] >= 0]


def _lowest_accuracy(data: ReportData) -> float:
    """Where the axis of accuracies starts: a multiple of 10 % below all of them."""
    values = [v for c in data.classes for v in (c.before, c.after, c.in_pairs) if _is_known(v)]
    return max(0.0, math.floor(10 * min(values, default=0.0) - 0.2) / 10)


def _composition(data: ReportData) -> dict[str, Any]:
    """The data of the page's script."""
    expected = data.accuracy
    result = {
        "present": data.modules.classes_with_modules().tolist(),
        "costs": data.costs.to_json(),
        "measured": {
            ",".join(map(str, sorted(row["classes"]))): [
                round(float(row["accuracy"]), 5), round(float(row["full_accuracy"]), 5)
            ]
            for row in data.known_rows
        },
        "accuracy": None,
    }  # fmt: skip
    if expected:
        result["accuracy"] = {
            "full": expected.full.to_json(),
            "together": expected.together.to_json(),
            "pairs": expected.pairs and expected.pairs.to_json(),
            "classes": len(expected.classes),
        }
    return result
