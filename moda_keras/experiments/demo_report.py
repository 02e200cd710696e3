"""What the demo shows: tables in the terminal, figures in a folder."""

from pathlib import Path

import keras
import matplotlib.pyplot as plt
import numpy as np
from rich.console import Console
from rich.table import Table

from moda_keras import datasets
from moda_keras import evaluation as metrics
from moda_keras.experiments.demo import TARGET_CLASS, Replacement, TrainedModel
from moda_keras.reporting import plots

console = Console()


def print_header(data: datasets.Dataset, epochs: int) -> None:
    """Says what is going to be done."""
    console.print(
        f"Digits: {len(data.x_train)} training and {len(data.x_test)} test images; "
        f"{epochs} epochs, standard and modular, on {keras.backend.backend()}.",
        soft_wrap=True,
    )


def print_progress(name: str, trained: TrainedModel) -> None:
    """Says that one model is done."""
    console.print(
        f"{name}: trained in {trained.train_seconds:.1f} s, "
        f"decomposed in {trained.decompose_seconds:.1f} s.",
        soft_wrap=True,
    )


def print_tables(models: dict[str, TrainedModel], replacement: Replacement) -> None:
    """Prints what training, composing and replacing gave."""
    console.print(_modules_table(models))
    accuracy = {"composed": "reuse", "full model": "full"}
    console.print(_subtasks_table(models, "Accuracy, means over sub-tasks", accuracy))
    size = {"parameters": "size", "FLOPs": "flops"}
    console.print(_subtasks_table(models, "Size of composed models", size))
    console.print(_replacement_table(replacement))


def write_figures(models: dict[str, TrainedModel], output: Path) -> None:
    """Writes the figures of the demo as PNG files."""
    figures = {
        "overlap": _draw_overlap(models),
        "shared_units": plots.plot_shared_units(_modules(models)).figure,
        "subtasks": _draw_subtasks(models),
    }
    for name, figure in figures.items():
        path = output / f"{name}.png"
        figure.savefig(path, dpi=150)
        plt.close(figure)
        console.print(f"wrote {path}", soft_wrap=True)


def _modules(models: dict[str, TrainedModel]) -> dict:
    return {name: trained.modules for name, trained in models.items()}


def _modules_table(models: dict[str, TrainedModel]) -> Table:
    table = _table("Training and modules (tau = 0.9)", ["", *models])
    rows = {
        "test accuracy": [_percent(m.accuracy) for m in models.values()],
        "module size": [
            _percent(np.nanmean(metrics.module_size(m.modules))) for m in models.values()
        ],
        "module overlap": [_percent(metrics.mean_overlap(m.modules)) for m in models.values()],
        "training, seconds": [f"{m.train_seconds:.1f}" for m in models.values()],
        "decompose, seconds": [f"{m.decompose_seconds:.1f}" for m in models.values()],
    }
    for name, values in rows.items():
        table.add_row(name, *values)
    return table


def _subtasks_table(models: dict[str, TrainedModel], title: str, columns: dict[str, str]) -> Table:
    """A row for each number of classes; `columns` maps names to attributes of `SubtaskCurve`."""
    headers = [f"{model}:\n{name}" for model in models for name in columns]
    table = _table(title, ["classes", *headers])
    curves = [trained.curve for trained in models.values()]
    for row, k in enumerate(curves[0].classes):
        values = [getattr(curve, name)[row] for curve in curves for name in columns.values()]
        table.add_row(str(k), *map(_percent, values))
    return table


def _replacement_table(replacement: Replacement) -> Table:
    table = _table(
        f"Class {TARGET_CLASS} of a weak LeNet5 replaced, in {replacement.seconds:.1f} s",
        ["test accuracy", "before", "after"],
    )
    for index, name in enumerate(("replaced class", "other classes")):
        values = (replacement.before[index], replacement.after[index])
        table.add_row(name, *map(_percent, values))
    return table


def _table(title: str, columns: list[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left")
    return table


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _draw_overlap(models: dict[str, TrainedModel]) -> plt.Figure:
    figure, axes = plt.subplots(1, len(models), figsize=(10, 4.4), layout="constrained")
    top = max(np.nanmax(metrics.module_overlap(m.modules)) for m in models.values())
    for ax, (name, trained) in zip(axes, models.items(), strict=True):
        title = f"Weights shared, {name} training"
        plots.plot_overlap(trained.modules, ax, title, maximum=top)
    return figure


def _draw_subtasks(models: dict[str, TrainedModel]) -> plt.Figure:
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    classes = next(iter(models.values())).curve.classes
    accuracy = {
        name: {"composed": m.curve.reuse, "full model": m.curve.full} for name, m in models.items()
    }
    size = {
        name: {"parameters": m.curve.size, "FLOPs": m.curve.flops} for name, m in models.items()
    }
    plots.plot_subtasks(classes, accuracy, "accuracy on the sub-task", left, "Accuracy")
    plots.plot_subtasks(classes, size, "share of the full model", right, "Size")
    left.set_ylim(min(0.9, left.get_ylim()[0]), 1.005)
    right.set_ylim(0, 1.05)
    return figure
