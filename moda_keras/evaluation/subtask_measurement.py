"""All figures of a sub-task: reuse accuracy, size and multiply-accumulates."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from moda_keras.evaluation.accuracy import reuse_accuracy
from moda_keras.evaluation.flops import count_flops, planned_flops
from moda_keras.evaluation.masked_evaluator import MaskedEvaluator, beaten_by, count_samples
from moda_keras.evaluation.staged_model import why_not_staged
from moda_keras.evaluation.subtasks import Subtask
from moda_keras.modules.module_set import ModuleSet
from moda_keras.slicing.plan import Plan, trainable_parameters

COLUMNS = ("classes", "k", "samples", "accuracy", "full_accuracy", "size", "flops")


class SubtaskMeasurement:
    """Measures sub-tasks of one set of modules on one set of test data.

    Args:
        modules: The modules.
        x: Test inputs, an array of N samples.
        y: Labels, integers (N,).
        batch_size: Rows that are computed at a time.
    """

    def __init__(self, modules: ModuleSet, x: Any, y: np.ndarray, *, batch_size: int = 256):
        self.modules = modules
        self.x = x
        self.y = np.asarray(y).reshape(-1)
        self.batch_size = batch_size
        self._costs: dict[tuple, tuple[float, float]] = {}

    def measure(self, subtasks: Sequence[Subtask]) -> list[dict[str, Any]]:
        """The figures of sub-tasks.

        Args:
            subtasks: Tuples of class indices.

        Returns:
            Per sub-task a dict: `classes`, their number `k`, their `samples`, `accuracy` of the
            composed model, `full_accuracy` of the original choosing among the same classes, and
            `size` (trainable parameters) and `flops` of the composed model over the original's;
            `flops` is NaN where the shape of the model's input is not fixed.
        """
        table = np.zeros((len(subtasks), self.modules.num_classes), bool)
        for row, subtask in enumerate(subtasks):
            table[row, list(subtask)] = True
        samples = count_samples(table, self.y)
        accuracy, full = self._accuracy(subtasks), self._full_accuracy(table, samples)
        rows = []
        for i, subtask in enumerate(subtasks):
            size, flops = self._cost(subtask)
            figures = (subtask, len(subtask), int(samples[i]), float(accuracy[i]), float(full[i]))
            rows.append(dict(zip(COLUMNS, (*figures, size, flops), strict=True)))
        return rows

    @cached_property
    def evaluator(self) -> MaskedEvaluator | None:
        """What evaluates sub-tasks by masks; None for models that cannot be cut."""
        if why_not_staged(self.modules):
            return None
        return MaskedEvaluator(self.modules, batch_size=self.batch_size)

    def _accuracy(self, subtasks: Sequence[Subtask]) -> Sequence[float]:
        if self.evaluator is not None:
            return self.evaluator.accuracy(subtasks, self.x, self.y)
        return [reuse_accuracy(self.modules, each, self.x, self.y) for each in subtasks]

    def _full_accuracy(self, table: np.ndarray, samples: np.ndarray) -> np.ndarray:
        is_wrong = (self._preferred_by_full_model.astype("float32") @ table.T) > 0
        is_right = ~is_wrong & table[:, self.y].T
        return is_right.sum(axis=0) / samples

    @cached_property
    def _preferred_by_full_model(self) -> np.ndarray:
        """Bool array (N, C): classes that the original prefers to the sample's own."""
        logits = self.modules.model.predict(self.x, batch_size=self.batch_size, verbose=0)
        return beaten_by(logits, self.y)

    def _cost(self, subtask: Subtask) -> tuple[float, float]:
        """Size and multiply-accumulates over the original's."""
        units = self.modules.union(subtask)
        key = (len(subtask), *(np.packbits(mask).tobytes() for mask in units.values()))
        if key not in self._costs:
            plan = self.modules.slicer.plan(units, np.array(subtask))
            size = plan.trainable_size / trainable_parameters(self.modules.model)
            self._costs[key] = size, self._share_of_flops(plan)
        return self._costs[key]

    def _share_of_flops(self, plan: Plan) -> float:
        return np.nan if np.isnan(self._full_flops) else planned_flops(plan) / self._full_flops

    @cached_property
    def _full_flops(self) -> float:
        try:
            return count_flops(self.modules.model)
        except ValueError:  # the shape of the input is not fixed
            return np.nan
