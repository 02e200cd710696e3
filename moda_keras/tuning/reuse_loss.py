"""Accuracy that modules lose against the full model, over sub-tasks."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from typing import Any

import numpy as np

from moda_keras.evaluation.accuracy import is_correct
from moda_keras.evaluation.gather_samples import gather_samples
from moda_keras.evaluation.logits import predict_logits
from moda_keras.evaluation.masked_evaluator import MaskedEvaluator
from moda_keras.evaluation.samples import predict
from moda_keras.evaluation.staged_model import why_not_staged
from moda_keras.evaluation.subtasks import Subtask, sample_subtasks
from moda_keras.messages import listed
from moda_keras.modules.checks import check_modules
from moda_keras.modules.module_set import ModuleSet
from moda_keras.observing.labelled_arrays import check_batch_size, take_samples

Units = Mapping[str, np.ndarray]

# How the losses of the sub-tasks become one number.
STATISTICS: dict[str, Callable[[np.ndarray], float]] = {"mean": np.mean, "worst": np.max}
# Samples of the first round of measuring; each round has twice as many as the one before, and 64.
FIRST_SAMPLES = 64
# Module sets that are measured together and share computation.
TOGETHER = 16
# Losses are differences of means: equal losses may differ by this much.
ROUNDING = 1e-9


class ReuseLoss:
    """Accuracy that module sets of one model lose on sub-tasks.

    The loss on a sub-task is the accuracy of the full model, choosing among the same classes, minus
    that of the composed model, both on the samples of these classes.

    Args:
        modules: Modules of the model, with frequencies.
        x: Inputs: arrays or a dataset, as in `gather_samples`.
        y: Labels; None if `x` is a dataset.
        subtasks: Lists of class indices or names; `sample_subtasks` by default.
        statistic: "mean" or "worst": the number that summarizes the losses of all sub-tasks.
        batch_size: Number of rows in a prediction.
        steps: Number of batches to draw from a dataset; all by default.
        seed: Seed of the sub-tasks and of the order in which samples are used.

    Raises:
        ValueError: If an argument is invalid, or a class of the sub-tasks has no sample.
    """

    def __init__(
        self,
        modules: ModuleSet,
        x: Any,
        y: Any = None,
        subtasks: Iterable[Sequence[int | str]] | None = None,
        *,
        statistic: str = "mean",
        batch_size: int = 256,
        steps: int | None = None,
        seed: int = 0,
    ):
        check_modules(modules)
        modules.require_counts("Choosing a threshold")
        check_batch_size(batch_size, is_optional=False)
        if not isinstance(statistic, str) or statistic not in STATISTICS:
            raise ValueError(
                f"Expected `statistic` to be one of {list(STATISTICS)}. Received: "
                f"statistic={statistic!r}"
            )
        x, y = gather_samples(modules, x, y, steps=steps)
        self.modules = modules
        self.subtasks = (
            sample_subtasks(modules.classes_with_modules(), seed=seed)
            if subtasks is None
            else _check_subtasks(subtasks, modules)
        )
        self.statistic = STATISTICS[statistic]
        self.table = np.array(
            [np.isin(np.arange(modules.num_classes), each) for each in self.subtasks]
        )
        is_used = self.table.any(axis=0)
        _require_samples(is_used, y, modules)
        order = np.random.default_rng(seed).permutation(np.flatnonzero(is_used[y]))
        self.x = take_samples(x, order)
        self.y = y[order]
        self.batch_size = batch_size
        self.samples = self.table[:, self.y].sum(axis=1)

    @cached_property
    def full_wrong(self) -> np.ndarray:
        """Int array (subtasks,): samples that the full model classifies incorrectly."""
        scores = predict_logits(self.modules.model, self.x, self.batch_size)
        correct = [is_correct(scores[:, each], self.y, each).sum() for each in self.subtasks]
        return self.samples - np.array(correct)

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

        Samples are used in rounds. The errors so far bound the loss from below, and a module set is
        given up once that bound exceeds the limit.

        Args:
            module_sets: Module sets of the same model.
            limit: The largest accepted loss.

        Returns:
            Float array (module sets,); infinity for those that lose more.
        """
        losses = np.array([self._loss(wrong) for wrong in self._wrong(module_sets, limit)])
        return np.where(losses <= limit + ROUNDING, losses, np.inf)

    def first_within(self, module_sets: Sequence[ModuleSet], limit: float) -> int | None:
        """Index of the first module set that loses no more than `limit`.

        Args:
            module_sets: Module sets of the same model.
            limit: The largest accepted loss.

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
        """Errors by module set and sub-task; once they exceed the limit, only a part of them."""
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
        """Adds the errors of the rounds to `wrong`, while a module set may be within the limit."""
        for each in rounds:
            alive = np.flatnonzero(self._are_within(wrong, limit))
            if not len(alive):
                return
            found = self._count([module_sets[index] for index in alive], each)
            wrong[np.ix_(alive, each.subtasks)] += found

    def _count(self, module_sets: Sequence[ModuleSet], each: "_Round") -> np.ndarray:
        """Errors of a round, (module sets, sub-tasks of the round)."""
        subtasks = [self.subtasks[index] for index in each.subtasks]
        units = [modules.union(subtask) for modules in module_sets for subtask in subtasks]
        x = take_samples(self.x, each.samples)
        y = self.y[each.samples]
        correct = self._counter.count_correct(subtasks * len(module_sets), x, y, units=units)
        total = self.table[each.subtasks][:, y].sum(axis=1)
        return total - correct.reshape(len(module_sets), len(subtasks))

    @cached_property
    def _rounds(self) -> list["_Round"]:
        """All sub-tasks on more and more samples; or each on all, if every model is composed."""
        everything = np.arange(len(self.subtasks))
        if isinstance(self._counter, _ComposedModels):
            return [_Round(everything[t : t + 1], slice(None)) for t in everything]
        edges = [0]
        while edges[-1] < len(self.y):
            edges.append(2 * edges[-1] + FIRST_SAMPLES)
        return [_Round(everything, slice(*edge)) for edge in itertools.pairwise(edges)]

    @cached_property
    def _counter(self) -> "MaskedEvaluator | _ComposedModels":
        # With every unit in every module, the evaluator can mask for any threshold.
        whole = self.modules.with_threshold(0.0)
        if why_not_staged(whole):
            return _ComposedModels(whole, self.batch_size)
        return MaskedEvaluator(whole, batch_size=self.batch_size)


@dataclass(frozen=True, eq=False)
class _Round:
    """Sub-tasks and samples that are measured together."""

    subtasks: np.ndarray
    samples: slice


class _ComposedModels:
    """Counts like `MaskedEvaluator`, but composes every model: for models that cannot be cut."""

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
            scores = predict(model, take_samples(x, samples), self.batch_size)
            self._known[key] = int(is_correct(scores, y[samples], subtask).sum())
        return self._known[key]


def _check_subtasks(subtasks: Any, modules: ModuleSet) -> list[Subtask]:
    is_list = isinstance(subtasks, Iterable) and not isinstance(subtasks, str)
    subtasks = list(subtasks) if is_list else subtasks
    if not is_list or any(isinstance(each, (str, Integral)) for each in subtasks):
        raise ValueError(
            "Expected `subtasks` to be a list of lists of classes, such as [(0, 1), (0, 2, 3)]. "
            f"Received: subtasks={subtasks!r}"
        )
    found = [tuple(sorted(modules.resolve_classes(each).tolist())) for each in subtasks]
    if not found or min(map(len, found)) < 2:
        raise ValueError(
            "Expected at least one sub-task in `subtasks`, each of at least two classes. "
            f"Received: subtasks={found}"
        )
    return found


def _require_samples(is_used: np.ndarray, y: np.ndarray, modules: ModuleSet) -> None:
    missing = [modules.class_names[index] for index in np.setdiff1d(np.flatnonzero(is_used), y)]
    if missing:
        raise ValueError(
            "Expected validation samples of every class of the sub-tasks. Received: none of the "
            f"classes {listed(missing)}. Add samples of them, or pass `subtasks` without them"
        )
