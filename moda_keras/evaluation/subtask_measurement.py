"""All figures of a sub-task: reuse accuracy, size and multiply-accumulates."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from moda_keras.evaluation.accuracy import reuse_accuracy
from moda_keras.evaluation.flops import count_flops, planned_flops
from moda_keras.evaluation.logits import predict_logits
from moda_keras.evaluation.masked_evaluator import MaskedEvaluator, beaten_by, count_samples
from moda_keras.evaluation.samples import check_samples
from moda_keras.evaluation.staged_model import why_not_staged
from moda_keras.evaluation.subtasks import Subtask
from moda_keras.modules.checks import check_modules
from moda_keras.modules.module_set import ModuleSet
from moda_keras.slicing.plan import Plan

COLUMNS = ("classes", "k", "samples", "accuracy", "full_accuracy", "size", "flops")


class SubtaskMeasurement:
    """Measures sub-tasks of one set of modules on one set of test data.

    Args:
        modules: The modules.
        x: Test inputs, as for `MaskedEvaluator.accuracy`.
        y: Labels, as for `MaskedEvaluator.accuracy`.
        batch_size: Number of rows in a batch.
    """

    def __init__(self, modules: ModuleSet, x: Any, y: Any, *, batch_size: int = 256):
        check_modules(modules)
        self.modules = modules
        self.x, self.y = check_samples(modules, x, y)
        self.batch_size = batch_size
        self._costs: dict[tuple, tuple[float, float]] = {}

    def measure(self, subtasks: Sequence[Subtask]) -> list[dict[str, Any]]:
        """The figures of sub-tasks.

        Args:
            subtasks: Tuples of class indices.

        Returns:
            For each sub-task a dict: `classes`, their number `k`, their number of `samples`, the
            `accuracy` of the composed model, the `full_accuracy` of the original choosing among
            the same classes, and `size` (parameters) and `flops` of the composed model
            relative to the original. `flops` is NaN if the model's input shape is not fixed.
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
        """Evaluates sub-tasks by masks; None for models that cannot be cut."""
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
        """Bool array (N, C): the classes that the original prefers to the sample's own."""
        logits = predict_logits(self.modules.model, self.x, self.batch_size)
        return beaten_by(logits, self.y)

    def _cost(self, subtask: Subtask) -> tuple[float, float]:
        """Size and multiply-accumulates relative to the original."""
        units = self.modules.union(subtask)
        key = (len(subtask), *(np.packbits(mask).tobytes() for mask in units.values()))
        if key not in self._costs:
            plan = self.modules.plan(subtask)
            self._costs[key] = plan.relative_size, self._share_of_flops(plan)
        return self._costs[key]

    def _share_of_flops(self, plan: Plan) -> float:
        return np.nan if np.isnan(self._full_flops) else planned_flops(plan) / self._full_flops

    @cached_property
    def _full_flops(self) -> float:
        try:
            return count_flops(self.modules.model)
        except ValueError:  # the input shape is not fixed
            return np.nan
