"""The figures of a method's modules and of its models of sub-tasks."""

import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from moda_keras.evaluation import (
    ModelMeasurement,
    ResultsFile,
    cohesion,
    count_flops,
    coupling,
    kernel_retention_rate,
    mean_overlap,
    module_size,
    planned_flops,
    sweep_subtasks,
)
from moda_keras.evaluation.accuracy import is_correct
from moda_keras.evaluation.logits import predict_logits
from moda_keras.evaluation.subtasks import Subtask, draw_subtasks, subtasks_of
from moda_keras.experiments.compared_methods import Found, train_on_subtask
from moda_keras.experiments.experiment import Row, Workspace
from moda_keras.graph import find_hidden_activations
from moda_keras.modules.module_set import ModuleSet
from moda_keras.slicing.parameters import count_parameters

OF_MODELS = ("accuracy", "size", "flops", "seconds")


def measure_method(workspace: Workspace, found: Found, seed: int) -> Row:
    """The figures of a method.

    Args:
        workspace: Holds the data and a `MethodsConfig`.
        found: What the method found.
        seed: Seed of retraining.

    Returns:
        Dict; a figure that the method does not have is None.
    """
    config, data = workspace.config, workspace.data
    number = config.scaled(config.subtasks_per_size)
    subtasks = choose_subtasks(len(data.class_names), config.sizes, number)
    few = choose_subtasks(len(data.class_names), config.sizes, config.retrained_per_size)
    return {
        "accuracy": found.trained.accuracy,
        **_of_subtasks(workspace, found, few if found.is_costly else subtasks),
        **_of_retrained(workspace, found, few, seed),
        **_of_modules(workspace, found),
        "parameters": count_parameters(found.trained.modules.model),
        "train_seconds": found.trained.seconds,
    }


def choose_subtasks(classes: int, sizes: Sequence[int], number: int) -> list[Subtask]:
    """A random sample of sub-tasks, the same for all methods.

    Args:
        classes: C.
        sizes: Numbers of classes k.
        number: How many of each size, at most. A smaller sample is part of a larger one.

    Returns:
        List of tuples of ascending class indices.

    Raises:
        ValueError: If a size is not from 2 to C.
    """
    if not all(2 <= k <= classes for k in sizes):
        raise ValueError(f"Expected `sizes` from 2 to {classes}. Received: sizes={tuple(sizes)}")
    every = subtasks_of(classes)
    return [
        each for k in sizes for each in draw_subtasks([s for s in every if len(s) == k], number)
    ]


# --------------------------------------------------------------------------------- the modules


def _of_modules(workspace: Workspace, found: Found) -> Row:
    if found.modules is None:
        names = ("module_size", "module_overlap", "kernels_kept", "cohesion", "coupling")
        return dict.fromkeys(names)
    modules, data = found.modules, workspace.data
    return {
        "module_size": float(np.nanmean(module_size(modules))),
        "module_overlap": _number(mean_overlap(modules)),
        "kernels_kept": kernel_retention_rate(modules),
        "cohesion": _number(cohesion(_with_masks(found, modules), data.x_test, data.y_test)),
        "coupling": _number(coupling(modules)),
    }


def _with_masks(found: Found, modules: ModuleSet) -> ModuleSet:
    """The modules of the model that was trained, whose masks tell which kernels are active."""
    if found.trained.wrapper is None:
        return modules
    names = [each.name for each in find_hidden_activations(found.trained.wrapper)]
    units = {name: modules.units[name] for name in names if name in modules.units}
    return ModuleSet.from_units(found.trained.wrapper, units, modules.class_names)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


# -------------------------------------------------------------------------------- the sub-tasks


def _of_subtasks(workspace: Workspace, found: Found, subtasks: list[Subtask]) -> Row:
    """Means over models of sub-tasks, without retraining."""
    rows = _subtask_rows(workspace, found, subtasks)
    accuracy = _mean(row["accuracy"] for row in rows)
    seconds = [row["seconds"] for row in rows if "seconds" in row]
    return {
        "reuse_accuracy": None if found.is_costly else accuracy,
        "full_accuracy": _full_accuracy(workspace, found, subtasks),
        "size": _mean(row["size"] for row in rows),
        "flops": _mean(row["flops"] for row in rows),
        **_side_by_side(found.modules, subtasks),
        "modularize_seconds": found.seconds + (_mean(seconds) if seconds else 0.0),
    }


def _subtask_rows(workspace: Workspace, found: Found, subtasks: list[Subtask]) -> list[Row]:
    path = workspace.folder / "subtasks" / f"{found.name}-methods.csv"
    if found.modules is None:
        measure = functools.partial(_measure_model, workspace, found)
        return _each(path, OF_MODELS, subtasks, measure)
    return sweep_subtasks(
        found.modules,
        workspace.data.x_test,
        workspace.data.y_test,
        path,
        subtasks=subtasks,
        n_jobs=workspace.config.n_jobs,
        progress=workspace.sweep_progress,
    )


def _measure_model(workspace: Workspace, found: Found, subtask: Subtask) -> Row:
    """The figures of the model that a method makes for a sub-task."""
    start = time.perf_counter()
    model = found.model_of(subtask)
    seconds = time.perf_counter() - start
    figures = _measurement(workspace, found, subtask).measure(model)
    size, flops = figures["size"], figures["flops_share"]
    return {"accuracy": figures["accuracy"], "size": size, "flops": flops, "seconds": seconds}


def _measurement(workspace: Workspace, found: Found, subtask: Subtask) -> ModelMeasurement:
    x, y = workspace.data.x_test, workspace.data.y_test
    return ModelMeasurement(found.trained.modules, subtask, x, y, batch_size=None)


def _full_accuracy(workspace: Workspace, found: Found, subtasks: list[Subtask]) -> float:
    """Mean accuracy of the trained model, choosing among the classes of each sub-task."""
    data = workspace.data
    scores = predict_logits(found.trained.model, data.test_batches())
    chosen = [(list(subtask), np.isin(data.y_test, subtask)) for subtask in subtasks]
    return _mean(
        is_correct(scores[rows][:, classes], data.y_test[rows], classes).mean()
        for classes, rows in chosen
    )


def _side_by_side(modules: ModuleSet | None, subtasks: list[Subtask]) -> Row:
    """Means of the sums over the modules of a sub-task, as if each were run on its own."""
    if modules is None:
        return {"side_by_side_size": None, "side_by_side_flops": None}
    plans = [modules.plan([index]) for index in range(modules.num_classes)]
    whole = count_flops(modules.model)
    return {
        "side_by_side_size": _mean(sum(plans[c].relative_size for c in s) for s in subtasks),
        "side_by_side_flops": _mean(
            sum(planned_flops(plans[c]) for c in s) / whole for s in subtasks
        ),
    }


def _of_retrained(workspace: Workspace, found: Found, few: list[Subtask], seed: int) -> Row:
    """Means over models of a few sub-tasks, before and after they are trained on their data."""
    if found.is_retrained:
        rows = _subtask_rows(workspace, found, few)
        return {
            "before_retraining": None,
            "retrained_accuracy": _mean(row["accuracy"] for row in rows),
        }
    if not workspace.config.retrain_epochs:
        return {"before_retraining": None, "retrained_accuracy": None}
    path = workspace.folder / "subtasks" / f"{found.name}-retrained.csv"
    retrain = functools.partial(_retrain, workspace, found, seed)
    rows = _each(path, ("before", "after"), few, retrain)
    return {
        "before_retraining": _mean(row["before"] for row in rows),
        "retrained_accuracy": _mean(row["after"] for row in rows),
    }


def _retrain(workspace: Workspace, found: Found, seed: int, subtask: Subtask) -> Row:
    config, model = workspace.config, found.model_of(subtask)
    measurement = _measurement(workspace, found, subtask)
    before = measurement.measure(model)["accuracy"]
    rate = config.retrain_learning_rate
    train_on_subtask(workspace, model, subtask, rate, seed=seed, epochs=config.retrain_epochs)
    return {"before": before, "after": measurement.measure(model)["accuracy"]}


def _each(
    path: Path, figures: Sequence[str], subtasks: list[Subtask], measure: Callable[[Subtask], Row]
) -> list[Row]:
    """The rows of sub-tasks, measured one by one and written to a file as they complete."""
    results = ResultsFile(path, ["classes", *figures], ["classes"])
    for subtask in subtasks:
        if not results.has(classes=subtask):
            results.append([{"classes": subtask, **measure(subtask)}])
    by_classes: dict[Any, Row] = {row["classes"]: row for row in results.rows()}
    return [by_classes[" ".join(map(str, subtask))] for subtask in subtasks]


def _mean(values: Iterator[float] | Sequence[float]) -> float:
    return float(np.mean(list(values)))
