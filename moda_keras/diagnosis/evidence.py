"""What the checks look at: modules, measured sub-tasks and the history of training."""

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
    sample_subtasks,
    why_not_staged,
)
from moda_keras.evaluation.gather_samples import gather_samples
from moda_keras.modules.checks import check_modules
from moda_keras.modules.module_set import ModuleSet
from moda_keras.observing.labelled_arrays import is_dataset
from moda_keras.training.history import read_history
from moda_keras.training.moda_loss import MODALoss
from moda_keras.training.modular_loss import ModularLoss
from moda_keras.tuning import threshold_curve

# Sub-tasks that are measured if every model has to be composed for it.
COMPOSED_SUBTASKS = 8
# Thresholds that are tried to find one that loses less accuracy, and on how many sub-tasks at most.
TRIED_THRESHOLDS = (0.3, 0.5, 0.6, 0.7, 0.8, 0.85)
MAX_TRIED_SUBTASKS = 40


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the checks look at.

    Attributes:
        modules: The modules.
        x, y: Test data, or None.
        subtask_rows: Accuracy of composed models, as `SubtaskMeasurement.measure` returns it.
        history: Logs of training by name, or None.
        loss: The loss of the training.
    """

    modules: ModuleSet
    x: Any = None
    y: np.ndarray | None = None
    subtask_rows: Sequence[Mapping[str, Any]] = ()
    history: Mapping[str, Sequence[float]] | None = None
    loss: ModularLoss = field(default_factory=MODALoss)

    def has(self, needs: str) -> bool:
        """Whether there is what a check needs."""
        return {
            "nothing": True,
            "counts": self.modules.threshold is not None,
            "test data": bool(self.subtask_rows),
            "history": self.history is not None,
        }[needs]

    @cached_property
    def overlap(self) -> np.ndarray:
        """Float array (C, C), as `module_overlap`."""
        return module_overlap(self.modules)

    @cached_property
    def thresholds(self) -> dict[str, float]:
        """Tau of each hidden activation."""
        tau = self.modules.threshold
        return dict(tau) if isinstance(tau, Mapping) else dict.fromkeys(self.modules.units, tau)

    @cached_property
    def lower_thresholds(self) -> list[dict[str, Any]] | None:
        """Rows of `threshold_curve` for thresholds below tau; None if they cannot be measured."""
        subtasks = self._subtasks_with_samples()
        if not subtasks or not self.has("counts"):
            return None
        highest = max(self.thresholds.values())
        tried = [threshold for threshold in TRIED_THRESHOLDS if threshold < highest]
        number = COMPOSED_SUBTASKS if why_not_staged(self.modules) else MAX_TRIED_SUBTASKS
        subtasks = draw_subtasks(subtasks, number)
        return threshold_curve(self.modules, self.x, self.y, tried, subtasks=subtasks)

    def _subtasks_with_samples(self) -> list[tuple[int, ...]]:
        """The measured sub-tasks of which every class has test samples."""
        if self.x is None:
            return []
        present = set(self.y.tolist())
        subtasks = [row["classes"] for row in self.subtask_rows]
        return [each for each in subtasks if len(each) > 1 and present.issuperset(each)]


def gather_evidence(
    modules: ModuleSet,
    x_test: Any = None,
    y_test: Any = None,
    *,
    history: Any = None,
    subtask_rows: Sequence[Mapping[str, Any]] | str | Path | None = None,
    modular_loss: ModularLoss | None = None,
    seed: int = 0,
) -> Evidence:
    """Checks the arguments of `diagnose` and measures sub-tasks.

    Args:
        modules: As in `diagnose`, like all other arguments.
        x_test: Test data.
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
    if modular_loss is not None and not isinstance(modular_loss, ModularLoss):
        raise ValueError(
            "Expected `modular_loss` to be a `ModularLoss`, such as `MODALoss()`, or None. "
            f"Received: modular_loss={modular_loss!r}"
        )
    if (x_test is None) != (y_test is None) and not is_dataset(x_test):
        given, missing = ("x_test", "y_test") if y_test is None else ("y_test", "x_test")
        raise ValueError(
            f"Expected `x_test` and `y_test` together. Received: `{given}` without `{missing}`"
        )
    if x_test is not None:
        x_test, y_test = gather_samples(modules, x_test, y_test)
    if subtask_rows is None:
        subtask_rows = _measure_sample(modules, x_test, y_test, seed)
    loss = modular_loss or _compiled_loss(modules.model) or MODALoss()
    return Evidence(
        modules,
        x_test,
        y_test,
        subtask_rows=_check_rows(subtask_rows, modules),
        history=None if history is None else read_history(history, loss.objective_names),
        loss=loss,
    )


def _measure_sample(
    modules: ModuleSet, x: Any, y: np.ndarray | None, seed: int
) -> list[dict[str, Any]]:
    """A sample of sub-tasks of the classes that have modules and test samples."""
    if x is None:
        return []
    classes = np.intersect1d(modules.classes_with_modules(), y)
    if len(classes) < 2:
        return []
    subtasks = sample_subtasks(classes, seed=seed)
    if why_not_staged(modules):
        subtasks = draw_subtasks(subtasks, COMPOSED_SUBTASKS, seed)
    return SubtaskMeasurement(modules, x, y).measure(subtasks)


def _check_rows(rows: Any, modules: ModuleSet) -> list[dict[str, Any]]:
    """The checked rows, without those of classes that have no test sample (accuracy NaN)."""
    rows = read_rows(rows) if isinstance(rows, (str, Path)) else rows
    rows = list(rows) if isinstance(rows, Iterable) else rows
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise ValueError(
            "Expected `subtask_rows` to be what `sweep_subtasks` returned, a list of dicts, or the "
            f"path of its file. Received: subtask_rows={rows!r}"
        )
    checked = [_check_row(row, modules) for row in rows]
    return [row for row in checked if np.isfinite([row["accuracy"], row["full_accuracy"]]).all()]


def _check_row(row: Mapping[str, Any], modules: ModuleSet) -> dict[str, Any]:
    """The row with its classes as a tuple; files have them as "0 3 7"."""
    missing = [key for key in ("classes", "accuracy", "full_accuracy") if row.get(key) is None]
    missing += [key for key in ("accuracy", "full_accuracy") if isinstance(row.get(key), str)]
    if missing:
        raise ValueError(
            "Expected rows of `sweep_subtasks` in `subtask_rows`, with classes, accuracy and "
            f"full_accuracy. Received: a row without {missing}: {dict(row)}"
        )
    classes = row["classes"]
    is_written = isinstance(classes, (str, int))
    found = [int(part) for part in str(classes).split()] if is_written else classes
    return {**row, "classes": tuple(modules.resolve_classes(found).tolist())}


def _compiled_loss(model: keras.Model) -> ModularLoss | None:
    config = model.get_compile_config() or {}
    loss = config.get("modular_loss")
    return loss and keras.saving.deserialize_keras_object(loss)
