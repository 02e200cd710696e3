"""What signs are looked for in."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np

from moda_keras.evaluation import (
    SubtaskMeasurement,
    draw_subtasks,
    module_overlap,
    read_rows,
    why_not_staged,
)
from moda_keras.modules.checks import check_modules
from moda_keras.modules.module_set import ModuleSet
from moda_keras.observing.labelled_arrays import check_labelled_arrays, refuse_dataset
from moda_keras.training.history import read_history
from moda_keras.training.moda_loss import MODALoss
from moda_keras.tuning import sample_subtasks

# Sub-tasks that are measured of models that have to be composed for it.
COMPOSED_SUBTASKS = 8


@dataclass(frozen=True, eq=False)
class Evidence:
    """What signs are looked for in.

    Attributes:
        modules: The modules.
        x, y: Test data, or None.
        subtask_rows: Accuracy of composed models, as `SubtaskMeasurement.measure` gives.
        history: Logs of training by name, or None.
        weights: The objectives' weights, by objective.
    """

    modules: ModuleSet
    x: Any = None
    y: np.ndarray | None = None
    subtask_rows: Sequence[Mapping[str, Any]] = ()
    history: Mapping[str, Sequence[float]] | None = None
    weights: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def overlap(self) -> np.ndarray:
        """Float array (C, C), as `module_overlap`."""
        return module_overlap(self.modules)

    def has(self, needs: str) -> bool:
        """Whether there is what a check needs."""
        return {
            "nothing": True,
            "counts": self.modules.activation_counts is not None,
            "test data": bool(self.subtask_rows),
            "history": self.history is not None,
        }[needs]


def gather_evidence(
    modules: ModuleSet,
    x_test: Any = None,
    y_test: Any = None,
    *,
    history: Any = None,
    subtask_rows: Sequence[Mapping[str, Any]] | str | Path | None = None,
    modular_loss: MODALoss | None = None,
    seed: int = 0,
) -> Evidence:
    """Checks and measures what signs are looked for in.

    Args:
        modules: As for `diagnose`, and so are the others.
        x_test: Test inputs.
        y_test: Labels.
        history: Logs of training.
        subtask_rows: Measured sub-tasks.
        modular_loss: The loss of the training.
        seed: Seed of the sample of sub-tasks.

    Returns:
        An `Evidence`.

    Raises:
        ValueError: As `diagnose`.
    """
    check_modules(modules)
    refuse_dataset(x_test, "x_test")
    if (x_test is None) != (y_test is None):
        given, missing = ("x_test", "y_test") if y_test is None else ("y_test", "x_test")
        raise ValueError(
            f"Expected `x_test` and `y_test` together. Received: `{given}` without `{missing}`"
        )
    if x_test is not None:
        x_test, y_test = check_labelled_arrays(x_test, y_test, modules.num_classes)
    if subtask_rows is None:
        subtask_rows = measure_sample(modules, x_test, y_test, seed=seed)
    loss = modular_loss or _compiled_loss(modules.model) or MODALoss()
    return Evidence(
        modules,
        x_test,
        y_test,
        subtask_rows=_check_rows(subtask_rows, modules),
        history=None if history is None else read_history(history),
        weights=loss.weights,
    )


def measure_sample(
    modules: ModuleSet, x: Any, y: np.ndarray | None, *, seed: int = 0
) -> list[dict[str, Any]]:
    """Measures a sample of sub-tasks of the classes that have modules and test samples.

    Args:
        modules: The modules.
        x: Test inputs, or None.
        y: Labels, integers (N,).
        seed: Seed of the sample.

    Returns:
        Rows as `SubtaskMeasurement.measure` gives; none without data or without two such classes.
    """
    if x is None:
        return []
    classes = np.intersect1d(modules.classes_with_modules(), y)
    if len(classes) < 2:
        return []
    subtasks = sample_subtasks(classes, seed=seed)
    if why_not_staged(modules):  # then every one is composed
        subtasks = draw_subtasks(subtasks, COMPOSED_SUBTASKS, seed)
    return SubtaskMeasurement(modules, x, y).measure(subtasks)


def _check_rows(rows: Any, modules: ModuleSet) -> list[dict[str, Any]]:
    """The checked rows; those of classes without a sample, whose accuracy is NaN, say nothing."""
    rows = read_rows(rows) if isinstance(rows, (str, Path)) else rows
    rows = list(rows) if isinstance(rows, Iterable) else rows
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise ValueError(
            "Expected `subtask_rows` to be what `sweep_subtasks` gave, a list of dicts, or the "
            f"path of its file. Received: subtask_rows={rows!r}"
        )
    checked = [_check_row(row, modules) for row in rows]
    return [row for row in checked if np.isfinite([row["accuracy"], row["full_accuracy"]]).all()]


def _check_row(row: Mapping[str, Any], modules: ModuleSet) -> dict[str, Any]:
    """The row with its classes as a tuple; in a file they are written "0 3 7"."""
    missing = [key for key in ("classes", "accuracy", "full_accuracy") if row.get(key) is None]
    missing += [key for key in ("accuracy", "full_accuracy") if isinstance(row.get(key), str)]
    if missing:
        raise ValueError(
            "Expected `subtask_rows` to be rows of `sweep_subtasks`, with classes, accuracy and "
            f"full_accuracy. Received: a row without {missing}: {dict(row)}"
        )
    classes = row["classes"]
    written = isinstance(classes, (str, int))
    found = [int(part) for part in str(classes).split()] if written else classes
    return {**row, "classes": tuple(modules.resolve_classes(found).tolist())}


def _compiled_loss(model: keras.Model) -> MODALoss | None:
    config = getattr(model, "get_compile_config", dict)() or {}
    loss = config.get("modular_loss")
    return loss and keras.saving.deserialize_keras_object(loss)


def thresholds_of(modules: ModuleSet) -> dict[str, float]:
    """Tau of each hidden activation."""
    tau = modules.threshold
    return dict(tau) if isinstance(tau, Mapping) else dict.fromkeys(modules.units, tau)
