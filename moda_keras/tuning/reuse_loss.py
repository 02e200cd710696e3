"""What modules lose in accuracy against the full model, over sub-tasks."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from moda_keras.evaluation.masked_evaluator import MaskedEvaluator, beaten_by
from moda_keras.evaluation.staged_model import why_not_staged
from moda_keras.evaluation.subtasks import Subtask
from moda_keras.modules.module_set import ModuleSet
from moda_keras.observing.labelled_arrays import take_samples

Units = Mapping[str, np.ndarray]

# How the losses of the sub-tasks become one figure.
STATISTICS: dict[str, Callable[[np.ndarray], float]] = {"mean": np.mean, "worst": np.max}
# Samples of the first round of measuring; each next round has twice as many as the last.
FIRST_SAMPLES = 64
# Module sets that are measured together and share what they have in common.
TOGETHER = 16
# Losses are differences of means; equal ones may differ by this much.
ROUNDING = 1e-9


class ReuseLoss:
    """Accuracy that module sets of one model lose on sub-tasks.

    The loss on a sub-task is the accuracy of the full model, choosing among the same classes, minus
    that of the composed model, both on the samples of these classes.

    Args:
        modules: Modules of the model, with frequencies.
        x: Array of N samples, or a list or dict of arrays for a model of several inputs.
        y: Labels, integers (N,).
        subtasks: Tuples of class indices.
        statistic: "mean" or "worst": the one figure that is made of all sub-tasks' losses.
        batch_size: Rows that are computed at a time.
        seed: Seed of the order in which samples are looked at.
    """

    def __init__(
        self,
        modules: ModuleSet,
        x: Any,
        y: np.ndarray,
        subtasks: Sequence[Subtask],
        *,
        statistic: str = "mean",
        batch_size: int = 256,
        seed: int = 0,
    ):
        self.modules = modules
        self.subtasks = list(subtasks)
        self.statistic = STATISTICS[statistic]
        table = np.array([np.isin(np.arange(modules.num_classes), each) for each in subtasks])
        order = np.random.default_rng(seed).permutation(np.flatnonzero(table.any(axis=0)[y]))
        self.x = take_samples(x, order)
        self.y = y[order]
        self.batch_size = batch_size
        self.table = table
        self.samples = table[:, self.y].sum(axis=1)

    @cached_property
    def full_wrong(self) -> np.ndarray:
        """Int array (subtasks,): samples that the full model gets wrong."""
        scores = self.modules.model.predict(self.x, batch_size=self.batch_size, verbose=0)
        is_wrong = (beaten_by(scores, self.y).astype("float32") @ self.table.T) > 0
        return (is_wrong & self.table[:, self.y].T).sum(axis=0)

    @property
    def full_accuracy(self) -> np.ndarray:
        """Float array (subtasks,): accuracy of the full model."""
        return 1 - self.full_wrong / self.samples

    def accuracy(self, module_sets: Sequence[ModuleSet]) -> np.ndarray:
        """Reuse accuracy.

        Args:
            module_sets: Module sets of the same model.

        Returns:
            Float array (module sets, subtasks).
        """
        return 1 - self._wrong(module_sets, np.inf) / self.samples

    def within(self, module_sets: Sequence[ModuleSet], limit: float) -> np.ndarray:
        """The losses of the module sets that lose no more than `limit`.

        Measuring goes in rounds. What is wrong so far bounds the loss from below, and a module set
        is given up once that bound is over the limit.

        Args:
            module_sets: Module sets of the same model.
            limit: The largest loss to accept.

        Returns:
            Float array (module sets,); infinity for those that lose more.
        """
        losses = np.array([self._loss(wrong) for wrong in self._wrong(module_sets, limit)])
        return np.where(losses <= limit + ROUNDING, losses, np.inf)

    def first_within(self, module_sets: Sequence[ModuleSet], limit: float) -> int | None:
        """Index of the first module set that loses no more than `limit`.

        Args:
            module_sets: Module sets of the same model.
            limit: The largest loss to accept.

        Returns:
            Int, or None if there is none.
        """
        first, *others = self._rounds
        wrong = np.zeros((len(module_sets), len(self.subtasks)), "int64")
        self._add(wrong, module_sets, [first], limit)
        for index in np.flatnonzero(self._are_within(wrong, limit)):
            one = slice(index, index + 1)
            self._add(wrong[one], module_sets[one], others, limit)
            if self._are_within(wrong[one], limit).all():
                return int(index)
        return None

    def _loss(self, wrong: np.ndarray) -> float:
        return float(self.statistic((wrong - self.full_wrong) / self.samples))

    def _are_within(self, wrong: np.ndarray, limit: float) -> np.ndarray:
        return np.array([self._loss(each) <= limit + ROUNDING for each in wrong], bool)

    def _wrong(self, module_sets: Sequence[ModuleSet], limit: float) -> np.ndarray:
        """Wrong samples by module set and sub-task, at least as many as make the loss too large."""
        wrong = np.zeros((len(module_sets), len(self.subtasks)), "int64")
        for start in range(0, len(module_sets), TOGETHER):
            some = slice(start, start + TOGETHER)
            self._add(wrong[some], module_sets[some], self._rounds, limit)
        return wrong

    def _add(
        self,
        wrong: np.ndarray,
        module_sets: Sequence[ModuleSet],
        rounds: Sequence["_Round"],
        limit: float,
    ) -> None:
        """Adds what the rounds find to `wrong`, as long as a module set may be within the limit."""
        for each in rounds:
            alive = np.flatnonzero(self._are_within(wrong, limit))
            if not len(alive):
                return
            found = self._count([module_sets[index] for index in alive], each)
            wrong[np.ix_(alive, each.subtasks)] += found

    def _count(self, module_sets: Sequence[ModuleSet], each: "_Round") -> np.ndarray:
        """Wrong samples of a round, (module sets, sub-tasks of the round)."""
        subtasks = [self.subtasks[index] for index in each.subtasks]
        units = [modules.union(subtask) for modules in module_sets for subtask in subtasks]
        x = take_samples(self.x, each.samples)
        y = self.y[each.samples]
        correct = self._counter.count_correct(subtasks * len(module_sets), x, y, units=units)
        total = self.table[each.subtasks][:, y].sum(axis=1)
        return total - correct.reshape(len(module_sets), len(subtasks))

    @cached_property
    def _rounds(self) -> list["_Round"]:
        """All sub-tasks on ever more samples; or one by one, where each must be composed."""
        everything = np.arange(len(self.subtasks))
        if isinstance(self._counter, _ComposedModels):
            return [_Round(everything[t : t + 1], slice(None)) for t in everything]
        edges = [0]
        while edges[-1] < len(self.y):
            edges.append(2 * edges[-1] + FIRST_SAMPLES)
        return [_Round(everything, slice(*edge)) for edge in itertools.pairwise(edges)]

    @cached_property
    def _counter(self) -> "MaskedEvaluator | _ComposedModels":
        # With every unit in every module, the evaluator serves any threshold.
        whole = self.modules.with_threshold(0.0)
        if why_not_staged(whole):
            return _ComposedModels(whole, self.batch_size)
        return MaskedEvaluator(whole, batch_size=self.batch_size)


@dataclass(frozen=True, eq=False)
class _Round:
    """What is measured at a time: some sub-tasks on some samples."""

    subtasks: np.ndarray
    samples: slice


class _ComposedModels:
    """Counts as `MaskedEvaluator` does, for models that cannot be cut: it composes each model."""

    def __init__(self, modules: ModuleSet, batch_size: int):
        self.slicer = modules.slicer
        self.batch_size = batch_size
        self._known: dict[tuple, int] = {}

    def count_correct(
        self, subtasks: Sequence[Subtask], x: Any, y: np.ndarray, *, units: Sequence[Units]
    ) -> np.ndarray:
        return np.array(
            [
                self._count(subtask, x, y, masks)
                for subtask, masks in zip(subtasks, units, strict=True)
            ]
        )

    def _count(self, subtask: Subtask, x: Any, y: np.ndarray, units: Units) -> int:
        key = (subtask, *(np.packbits(mask).tobytes() for mask in units.values()))
        if key not in self._known:
            model = self.slicer.build(self.slicer.plan(units, np.array(subtask)))
            samples = np.isin(y, subtask)
            scores = model.predict(take_samples(x, samples), batch_size=self.batch_size, verbose=0)
            right = np.array(subtask)[scores.argmax(axis=-1)] == y[samples]
            self._known[key] = int(right.sum())
        return self._known[key]
