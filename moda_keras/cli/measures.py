"""Figures of models and modules that several commands show."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from moda_keras.cli.terminal import percent, rows_table

if TYPE_CHECKING:
    import keras
    from rich.table import Table

    from moda_keras.modules.module_set import ModuleSet


def count_parameters(model: "keras.Model") -> int:
    """Number of parameters, without states such as moving averages."""
    import moda_keras as mk

    return mk.metrics.count_parameters(model)


def count_flops(model: "keras.Model") -> int | None:
    """Multiply-accumulates; None if the input has no fixed shape."""
    import moda_keras as mk

    try:
        return mk.metrics.count_flops(model)
    except ValueError:
        return None


def share_of_flops(model: "keras.Model", whole: "keras.Model") -> float | None:
    """Multiply-accumulates of a model over those of another; None if unknown."""
    flops, of = count_flops(model), count_flops(whole)
    return None if flops is None or of is None else flops / of


def grouped(number: int | None) -> str:
    """An integer with thousands separators; "-" if it is unknown."""
    return "-" if number is None else f"{number:,}"


def measure_modules(modules: "ModuleSet") -> dict[str, Any]:
    """Size and overlap of modules, as shares of the original model."""
    import moda_keras as mk

    sizes = mk.metrics.module_size(modules)
    return {
        "threshold": modules.threshold,
        "threshold_label": modules.threshold_label,
        "classes": list(modules.class_names),
        "module_size": dict(zip(modules.class_names, sizes.tolist(), strict=True)),
        "mean_module_size": float(np.nanmean(sizes)) if np.isfinite(sizes).any() else math.nan,
        "mean_overlap": mk.metrics.mean_overlap(modules),
    }


def summary_of_modules(measured: dict[str, Any]) -> dict[str, str]:
    """The result of `measure_modules` as rows of a table."""
    sizes = measured["module_size"]
    known = {name: size for name, size in sizes.items() if size == size}
    if not known:
        return {
            "threshold (tau)": measured["threshold_label"],
            "modules": "0: no class has samples",
        }
    smallest, largest = min(known, key=known.get), max(known, key=known.get)
    return {
        "threshold (tau)": measured["threshold_label"],
        "modules": str(len(known)),
        "module size, average": percent(measured["mean_module_size"]),
        "smallest": f"{percent(known[smallest])} ({smallest})",
        "largest": f"{percent(known[largest])} ({largest})",
        "overlap, average": percent(measured["mean_overlap"]),
    }


def units_table(modules: "ModuleSet") -> "Table":
    """The units of each hidden activation, and how many the modules keep."""
    rows = []
    for hidden in modules.hidden_activations:
        units = modules.units[hidden.name][modules.classes_with_modules()]
        mean = units.sum(axis=1).mean() if len(units) else 0.0
        rows.append(
            (
                hidden.name,
                hidden.units,
                f"{mean:.1f}",
                int(units.any(axis=0).sum()),
                int(units.all(axis=0).sum()) if len(units) else 0,
            )
        )
    columns = ("activation", "units", "per module, average", "in any module", "in all modules")
    return rows_table(None, columns, rows)
