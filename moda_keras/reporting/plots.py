"""Matplotlib figures of modules and of the models composed of them.

Every function draws into the axes `ax`, by default those of a new figure, and returns them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

try:
    import matplotlib.pyplot as plt
    from matplotlib.axes import Axes
    from matplotlib.ticker import MaxNLocator, PercentFormatter
except ImportError as error:
    raise ImportError(
        "`moda_keras.reporting.plots` needs matplotlib, which is not installed. Install it with: "
        'pip install "moda-keras[plots]"'
    ) from error

from moda_keras.evaluation import module_overlap, module_size
from moda_keras.evaluation.shared_units import shared_units
from moda_keras.modules.module_set import ModuleSet
from moda_keras.reporting.plot_arguments import check_lines, check_module_sets, check_rows

MAX_LABELLED_CLASSES = 20
MARKERS = "osD^vP*Xp<>h"
SIZES = {
    "module_size": "mean module, share of the model's parameters",
    "size": "mean composed model, share of the model's parameters",
    "flops": "mean composed model, share of the model's multiply-accumulates",
}
COSTS = {"parameters": ("size", "parameters"), "flops": ("flops_share", "multiply-accumulates")}


def plot_overlap(
    modules: ModuleSet,
    ax: Axes | None = None,
    title: str | None = None,
    *,
    maximum: float | None = None,
) -> Axes:
    """Heatmap of the weights that two modules share, with sizes on the diagonal.

    Args:
        modules: The modules.
        ax: Axes to draw into.
        title: Title of the plot.
        maximum: Upper end of the colour scale, to compare several plots.

    Returns:
        The axes.
    """
    ax = ax or plt.subplots(figsize=(5, 4.4), layout="constrained")[1]
    overlap = module_overlap(modules)
    image = ax.imshow(overlap, cmap="viridis", vmin=0, vmax=maximum)
    bar = ax.figure.colorbar(image, ax=ax, format=PercentFormatter(1, decimals=0))
    bar.set_label("share of the model's weights")
    if modules.num_classes <= MAX_LABELLED_CLASSES:
        ticks = np.arange(modules.num_classes)
        ax.set_xticks(ticks, modules.class_names, rotation=45, ha="right")
        ax.set_yticks(ticks, modules.class_names)
    ax.set(xlabel="module", ylabel="module", title=title or "Weights that modules share")
    return ax


def plot_shared_units(
    module_sets: dict[str, ModuleSet], ax: Axes | None = None, title: str | None = None
) -> Axes:
    """Bars: the share of units that two modules have in common, by layer.

    Args:
        module_sets: Modules of models of one architecture, by their name in the legend.
        ax: Axes to draw into.
        title: Title of the plot.

    Returns:
        The axes.

    Raises:
        ValueError: If `module_sets` is no such dict.
    """
    check_module_sets(module_sets)
    ax = ax or plt.subplots(figsize=(6, 3.6), layout="constrained")[1]
    width = 0.8 / len(module_sets)
    for index, (label, modules) in enumerate(module_sets.items()):
        shares = shared_units(modules)
        places = np.arange(len(shares)) + (index - (len(module_sets) - 1) / 2) * width
        bars = ax.bar(places, shares.values(), width, label=label)
        ax.bar_label(bars, [f"{100 * share:.0f}" for share in shares.values()], fontsize=8)
        ax.set_xticks(np.arange(len(shares)), shares.keys(), rotation=30, ha="right")
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    ax.set(ylim=(0, 1.3), ylabel="units in common / units of either")
    ax.set_yticks(np.linspace(0, 1, 6))
    ax.set_title(title or "Units that modules share, layer by layer")
    ax.legend(loc="upper center", ncols=len(module_sets))
    return ax


def plot_subtasks(
    sizes: Sequence[int],
    curves: dict[str, dict[str, Sequence[float]]],
    ylabel: str,
    ax: Axes | None = None,
    title: str | None = None,
) -> Axes:
    """Lines against the number of composed classes.

    Args:
        sizes: Numbers of classes k.
        curves: The lines of each model by name: one value in [0, 1] for each k. Models differ in
            colour, lines of a model in style.
        ylabel: Label of the values.
        ax: Axes to draw into.
        title: Title of the plot.

    Returns:
        The axes.

    Raises:
        ValueError: If a line has not one value for each k.
    """
    for lines in curves.values():
        check_lines("curves", lines, len(sizes), "`sizes`")
    ax = ax or plt.subplots(figsize=(5, 3.6), layout="constrained")[1]
    for index, (model, lines) in enumerate(curves.items()):
        for (line, values), style in zip(lines.items(), ("-o", "--", ":", "-."), strict=False):
            label = f"{model}, {line}"
            ax.plot(sizes, values, style, color=f"C{index}", markersize=5, label=label)
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="classes composed", ylabel=ylabel, title=title)
    ax.grid(alpha=0.3)
    ax.legend()
    return ax


def plot_module_sizes(modules: ModuleSet, ax: Axes | None = None, title: str | None = None) -> Axes:
    """Bars: the size of every module, with a line at the mean.

    Args:
        modules: The modules.
        ax: Axes to draw into.
        title: Title of the plot.

    Returns:
        The axes.
    """
    ax = ax or plt.subplots(figsize=(6, 3.6), layout="constrained")[1]
    sizes = module_size(modules)
    ax.bar(np.arange(len(sizes)), sizes)
    ax.axhline(np.nanmean(sizes), color="C1", linestyle="--", label="mean")
    _label_classes(ax, modules.class_names)
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    ax.set(ylabel="share of the model's parameters", title=title or "Size of each module")
    ax.legend()
    return ax


def plot_class_accuracy(
    accuracy: Mapping[str, Sequence[float]],
    class_names: Sequence[str],
    ax: Axes | None = None,
    title: str | None = None,
) -> Axes:
    """Dots: the accuracy of several models on each class, with a line between them.

    Args:
        accuracy: C floats in [0, 1] per model, by its name in the legend; NaN is left out.
        class_names: C names.
        ax: Axes to draw into.
        title: Title of the plot.

    Returns:
        The axes.

    Raises:
        ValueError: If a model has not one number for each name.

    Examples:
        ```python
        before = [mk.metrics.full_accuracy(model, ...), ...]
        mk.plots.plot_class_accuracy({"before": before, "after": after}, modules.class_names)
        ```
    """
    check_lines("accuracy", accuracy, len(class_names), "`class_names`")
    ax = ax or plt.subplots(figsize=(6, 3.6), layout="constrained")[1]
    places, values = np.arange(len(class_names)), np.array(list(accuracy.values()), float)
    ax.vlines(places, np.fmin.reduce(values), np.fmax.reduce(values), color="0.7")
    for name, row in zip(accuracy, values, strict=True):
        ax.plot(places, row, "o", label=name)
    _label_classes(ax, class_names)
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    ax.set(ylabel="accuracy on the class", title=title or "Accuracy by class")
    ax.grid(axis="y", alpha=0.3)
    ax.set_ylim(-0.04, 1.2)  # room for the legend
    ax.set_yticks(np.linspace(0, 1, 6))
    ax.legend(loc="upper center", ncols=len(accuracy))
    return ax


def plot_threshold_curve(
    rows: Sequence[Mapping[str, Any]],
    ax: Axes | None = None,
    title: str | None = None,
    *,
    threshold: float | None = None,
) -> Axes:
    """Lines: accuracy of composed models and size of modules against tau.

    Args:
        rows: Rows that `moda_keras.tuning.threshold_curve` returns for numeric thresholds.
        ax: Axes to draw into.
        title: Title of the plot.
        threshold: Value of tau to mark.

    Returns:
        The axes.

    Raises:
        ValueError: If there is no row.

    Source: MODA (ICSE 2026), figure 4.
    """
    check_rows(rows, "`mk.tuning.threshold_curve`")
    ax = ax or plt.subplots(figsize=(6, 3.6), layout="constrained")[1]
    rows = sorted(rows, key=lambda row: row["threshold"])
    thresholds = [row["threshold"] for row in rows]
    columns = {
        "reuse accuracy": ("reuse_accuracy", "-o"),
        "full model": ("full_accuracy", "--"),
        "module size": ("module_size", "-s"),
    }
    for label, (key, style) in columns.items():
        ax.plot(thresholds, [row[key] for row in rows], style, markersize=4, label=label)
    if threshold is not None:
        ax.axvline(threshold, color="0.5", linestyle=":", label=f"tau = {threshold:g}")
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    ax.set(xlabel="tau", ylim=(0, 1.03), title=title or "Accuracy and size against tau")
    ax.grid(alpha=0.3)
    ax.legend()
    return ax


def plot_size_curve(
    rows: Sequence[Mapping[str, Any]],
    ax: Axes | None = None,
    title: str | None = None,
    *,
    by: str = "parameters",
    chosen: float | None = None,
) -> Axes:
    """Lines: accuracy of slim models against their size, and of the full model's chosen outputs.

    Args:
        rows: Rows that `moda_keras.tuning.size_curve` returns. Without accuracy, agreement with the
            full model is drawn.
        ax: Axes to draw into.
        title: Title of the plot.
        by: "parameters" or "flops": which size.
        chosen: A size to mark.

    Returns:
        The axes.

    Raises:
        ValueError: If there is no row, or `by` is neither.
    """
    check_rows(rows, "`mk.tuning.size_curve`")
    if by not in COSTS:
        raise ValueError(f"Expected `by` out of {list(COSTS)}. Received: by={by!r}")
    ax = ax or plt.subplots(figsize=(6, 3.6), layout="constrained")[1]
    size, cost = COSTS[by]
    measure = "agreement" if any(row["accuracy"] is None for row in rows) else "accuracy"
    lines = {"repaired": ("slim and repaired", "C0-o"), "slim": ("slim", "C1-s")}
    for name, (label, style) in lines.items():
        points = sorted((row[size], row[measure]) for row in rows if row["model"] == name)
        if points:
            ax.plot(*zip(*points, strict=True), style, markersize=4, label=label)
    for row in rows:
        if row["model"] == "head only":
            ax.plot(row[size], row[measure], "k*", markersize=10, label="head only")
            ax.axhline(row[measure], color="k", linestyle="--", linewidth=0.8)
    if chosen is not None:
        ax.axvline(chosen, color="0.5", linestyle=":", label="chosen size")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.set(xlabel=f"{cost}, share of the full model", xlim=(0, 1.05))
    ax.set(ylabel=measure if measure == "accuracy" else "agreement with the full model")
    ax.set_title(title or "What smaller models cost")
    ax.grid(alpha=0.3)
    ax.legend()
    return ax


def plot_methods(
    rows: Sequence[Mapping[str, Any]],
    ax: Axes | None = None,
    title: str | None = None,
    *,
    size: str = "module_size",
    accuracy: str = "reuse_accuracy",
) -> Axes:
    """Marks: the accuracy of methods against the size of their modules, one mark a method.

    Args:
        rows: Dicts with `method` and the figures, such as the summary of the experiment `methods`
            for one network. Methods without one of the two figures are left out.
        ax: Axes to draw into.
        title: Title of the plot.
        size: "module_size", "size" or "flops": the figure on the x axis.
        accuracy: The figure on the y axis, such as "retrained_accuracy".

    Returns:
        The axes.

    Raises:
        ValueError: If `size` is none of these, or there is no row.
    """
    check_rows(rows, "the experiment `methods`")
    if size not in SIZES:
        raise ValueError(f"Expected `size` out of {list(SIZES)}. Received: size={size!r}")
    ax = ax or plt.subplots(figsize=(6, 3.6), layout="constrained")[1]
    for index, row in enumerate(rows):  # a method has the same mark in every plot of the rows
        if row.get(size) is not None and row.get(accuracy) is not None:
            mark = {"marker": MARKERS[index % len(MARKERS)], "color": f"C{index % 10}"}
            ax.plot(row[size], row[accuracy], linestyle="", label=row["method"], **mark)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.set(xlabel=SIZES[size], ylabel=accuracy.replace("_", " "))
    ax.set_title(title or "Accuracy and size by method")
    ax.grid(alpha=0.3)
    if ax.lines:
        ax.legend(fontsize=8)
    return ax


def _label_classes(ax: Axes, names: Sequence[str]) -> None:
    if len(names) > MAX_LABELLED_CLASSES:
        ax.set_xlabel("class")
    else:
        ax.set_xticks(np.arange(len(names)), names, rotation=45, ha="right")
