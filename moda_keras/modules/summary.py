"""The modules of a model as a table, like `keras.Model.summary`."""

from collections.abc import Callable
from numbers import Integral
from typing import Any

from moda_keras.html_table import html_table
from moda_keras.modules.module import Module
from moda_keras.modules.module_set import ModuleSet


def summary(
    modules: ModuleSet,
    *,
    print_fn: Callable[[str], Any] = print,
    max_activations: int = 6,
    max_classes: int = 20,
) -> None:
    """Prints a table of modules: units by hidden activation, and the size, of every class.

    Of modules that were chosen for a sub-task, it shows the classes of that alone.

    Args:
        modules: The modules.
        print_fn: Called with each line.
        max_activations: Positive int. Of more hidden activations, the first and the last are shown.
        max_classes: Positive int. Of more classes, the first are shown.

    Raises:
        ValueError: If one of them is no positive int.

    Examples:
        >>> import keras
        >>> import numpy as np
        >>> import moda_keras as mk
        >>> model = keras.Sequential([
        ...     keras.Input((2,)),
        ...     keras.layers.Dense(4, activation="relu", name="features"),
        ...     keras.layers.Dense(2),
        ... ], name="pets")
        >>> units = {"features": np.array([[1, 1, 0, 0], [0, 1, 1, 1]], bool)}
        >>> mk.ModuleSet.from_units(model, units, ["cat", "dog"]).summary()
        Modules of 'pets': 2 classes, 1 hidden activations, threshold none
        class    features (4)    size
        cat                 2  40.9 %
        dog                 3  59.1 %
    """
    for name, value in (("max_activations", max_activations), ("max_classes", max_classes)):
        if not isinstance(value, Integral) or value < 1:
            raise ValueError(f"Expected `{name}` to be a positive int. Received: {name}={value!r}")
    names = _shown(list(modules.units), max_activations)
    header = ["class", *(_label(modules, name) for name in names), "size"]
    shown, note = _shown_classes(modules, max_classes)
    rows = [_row(modules, index, names) for index in shown]
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    print_fn(_title(modules))
    for first, *others in [header, *rows]:
        cells = [text.rjust(width) for text, width in zip(others, widths[1:], strict=True)]
        print_fn("  ".join([first.ljust(widths[0]), *cells]))
    if note:
        print_fn(note)


def module_set_html(modules: ModuleSet, *, max_activations: int = 6, max_classes: int = 20) -> str:
    """The same table for notebooks, with a bar for the size of each module.

    Args:
        modules: The modules.
        max_activations: Of more hidden activations, the first and the last are shown.
        max_classes: Of more classes, the first are shown.

    Returns:
        HTML.
    """
    names = _shown(list(modules.units), max_activations)
    shown, note = _shown_classes(modules, max_classes)
    rows = [_row(modules, index, names) for index in shown]
    present = set(modules.classes_with_modules().tolist())
    return html_table(
        _title(modules),
        ["class", *(_label(modules, name) for name in names), "size"],
        rows,
        shares=[min(modules[index].size, 1.0) if index in present else None for index in shown],
        note=note,
    )


def module_html(module: Module) -> str:
    """The units of one module by hidden activation, with bars, for notebooks.

    Args:
        module: The module.

    Returns:
        HTML.
    """
    rows = [[name, f"{u.sum()} of {len(u)}"] for name, u in module.units.items()]
    return html_table(
        f"Module of class {module.class_index}, {module.class_name}",
        ["hidden activation", "units"],
        rows,
        shares=[float(units.mean()) for units in module.units.values()],
    )


def _title(modules: ModuleSet) -> str:
    name = getattr(modules.model, "name", None)
    return (
        f"Modules of {name!r}: {modules.num_classes} classes, {len(modules.units)} hidden "
        f"activations, threshold {modules.threshold_label}"
    )


def _shown_classes(modules: ModuleSet, most: int) -> tuple[list[int], str]:
    """Indices of the classes to show, and what is said of the others."""
    of_task = [each.class_index for each in modules]
    left, others = len(of_task[most:]), modules.num_classes - len(of_task)
    notes = [f"... and {left} more classes"] if left else []
    notes += [f"{others} other classes, for which no units were chosen"] if others else []
    return of_task[:most], "; ".join(notes)


def _shown(names: list[str], most: int) -> list[str | None]:
    """Names to show, with None for those left out."""
    if len(names) <= most:
        return names
    first = most // 2
    return [*names[:first], None, *names[first - most :]]


def _label(modules: ModuleSet, name: str | None) -> str:
    return "..." if name is None else f"{name} ({modules.units[name].shape[1]})"


def _row(modules: ModuleSet, index: int, names: list[str | None]) -> list[str]:
    if index not in modules.classes_with_modules():
        return [modules.class_names[index], *["-"] * len(names), "no samples"]
    counts = ["..." if n is None else str(int(modules.units[n][index].sum())) for n in names]
    return [modules.class_names[index], *counts, f"{100 * modules[index].size:.1f} %"]
