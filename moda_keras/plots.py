"""Matplotlib figures of modules and of the models composed of them.

Every function draws into `ax` (a new figure's by default) and returns it.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from moda_keras.metrics import module_overlap
from moda_keras.metrics.kernels import mean_jaccard
from moda_keras.module_set import ModuleSet

MAX_LABELLED_CLASSES = 20


def plot_overlap(
    modules: ModuleSet,
    ax: Axes | None = None,
    title: str | None = None,
    *,
    maximum: float | None = None,
) -> Axes:
    """Heatmap of the weights that each two modules share; sizes on the diagonal.

    Args:
        modules: The modules.
        ax: Where to draw.
        title: Title of the plot.
        maximum: Value at the top of the colour scale, to compare several plots.

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


def shared_units(modules: ModuleSet) -> dict[str, float]:
    """For each activation, the mean over pairs of modules of the share of units in common.

    Args:
        modules: The modules.

    Returns:
        Dict from activation name to the mean Jaccard index of two modules' units, a float in
        [0, 1], in the order of execution.
    """
    present = modules.classes_with_modules()
    return {
        h.name: mean_jaccard(modules.units[h.name][present]) for h in modules.hidden_activations
    }


def plot_shared_units(
    module_sets: dict[str, ModuleSet], ax: Axes | None = None, title: str | None = None
) -> Axes:
    """Bars: by layer, the share of units that two modules have in common.

    Args:
        module_sets: Modules by the name they get in the legend, of models of one architecture.
        ax: Where to draw.
        title: Title of the plot.

    Returns:
        The axes.
    """
    ax = ax or plt.subplots(figsize=(6, 3.6), layout="constrained")[1]
    width = 0.8 / len(module_sets)
    for index, (label, modules) in enumerate(module_sets.items()):
        shares = shared_units(modules)
        places = np.arange(len(shares)) + (index - (len(module_sets) - 1) / 2) * width
        bars = ax.bar(places, shares.values(), width, label=label)
        ax.bar_label(bars, [f"{100 * share:.0f}" for share in shares.values()], fontsize=8)
        ax.set_xticks(np.arange(len(shares)), shares.keys(), rotation=30, ha="right")
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    ax.set(ylim=(0, 1.1), ylabel="units in common / units of either")
    ax.set_title(title or "Units that modules share, layer by layer")
    ax.legend()
    return ax


def plot_subtasks(
    sizes: Sequence[int],
    curves: dict[str, dict[str, Sequence[float]]],
    ylabel: str,
    ax: Axes | None = None,
    title: str | None = None,
) -> Axes:
    """Lines against the number of classes that are composed.

    Args:
        sizes: Numbers of classes k.
        curves: For each model, by name, its lines by name: one value in [0, 1] for each k. A model
            has a colour, lines of one name a style.
        ylabel: What the values are.
        ax: Where to draw.
        title: Title of the plot.

    Returns:
        The axes.
    """
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
