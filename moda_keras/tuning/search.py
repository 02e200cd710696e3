"""The smallest modules that lose little accuracy: one threshold for all, or one for each layer."""

import heapq
import itertools
import math
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any

import numpy as np

from moda_keras.modules.module_set import ModuleSet
from moda_keras.slicing.plan import trainable_parameters
from moda_keras.tuning.reuse_loss import ROUNDING, TOGETHER, ReuseLoss
from moda_keras.tuning.thresholds import (
    check_thresholds,
    nested_thresholds,
    require_modules_of_a_threshold,
)

# Fractions of an activation's units that the steps of the search for each layer remove from the
# modules; a step removes at least the units of one threshold.
STEPS = (1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32)


def tune_threshold(
    modules: ModuleSet,
    x: Any,
    y: Any = None,
    max_accuracy_loss: float = 0.01,
    *,
    per_layer: bool = False,
    statistic: str = "mean",
    subtasks: Iterable[Sequence[int | str]] | None = None,
    thresholds: Iterable[float] | None = None,
    batch_size: int = 256,
    steps: int | None = None,
    seed: int = 0,
) -> ModuleSet:
    """Finds the smallest modules within a loss of accuracy, without a pass over the training data.

    The search goes through every threshold at which modules change (`distinct_thresholds`), from
    the smallest modules to the largest, and takes the first that is within the loss. It gives up
    most thresholds after a few samples, once they have caused too many errors.

    Args:
        modules: Modules with frequencies, as `decompose` returns them.
        x: Validation data, anything that `fit` takes: an array of N samples, a list or dict of
            arrays for a model of several inputs, or a dataset of batches `(inputs, labels)` (a
            `tf.data.Dataset`, `DataLoader`, `PyDataset` or generator). All samples are held in
            memory, those of a dataset after one pass over it.
        y: Labels: integers (N,), one-hot (N, C) or class names (N,); None if `x` is a dataset.
        max_accuracy_loss: Float in [0, 1). The loss on a sub-task is the accuracy of the full
            model, choosing among the sub-task's classes, minus that of the composed model.
        per_layer: Whether to find a threshold for each hidden activation. That search saves as much
            size per accuracy lost as it can. It does not try all combinations, but its modules are
            never larger than those of one threshold for all.
        statistic: Which of the sub-tasks' losses must be within `max_accuracy_loss`: their "mean"
            or the "worst".
        subtasks: Lists of class indices or names, at least two each. By default `sample_subtasks`,
            a few of every size.
        thresholds: The thresholds to choose from, floats in [0, 1]; all by default. With
            `per_layer`, those that the search starts from.
        batch_size: Number of rows in a prediction.
        steps: Number of batches to draw from a dataset; all by default. Needed for a dataset
            without an end.
        seed: Seed of the sample of sub-tasks and of the order of the validation samples.

    Returns:
        A new `ModuleSet` whose `threshold` is the chosen one, a dict if `per_layer`. Of modules of
        equal mean size it has those of the higher threshold.

    Raises:
        ValueError: If the modules have no frequencies, an argument is invalid, `x` and `y` do not
            match, a class of the sub-tasks has no sample, or none of `thresholds` is within the
            loss.

    Examples:
        >>> import keras
        >>> import numpy as np
        >>> import moda_keras as mk
        >>> model = keras.Sequential([
        ...     keras.Input((2,)),
        ...     keras.layers.Dense(2, activation="relu", kernel_initializer="identity"),
        ...     keras.layers.Dense(2, kernel_initializer="identity"),
        ... ])
        >>> x = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
        >>> y = np.array([0, 0, 1, 1])
        >>> modules = mk.decompose(model, x, y, threshold=0.5, verbose=0)
        >>> tuned = modules.tune_threshold(x, y, max_accuracy_loss=0.0)
        >>> tuned.threshold, tuned[0].size < modules[0].size
        (1.0, True)
    """
    require_modules_of_a_threshold(modules, "tune_threshold")
    limit = _check_max_loss(max_accuracy_loss)
    loss = ReuseLoss(
        modules, x, y, subtasks,
        statistic=statistic, batch_size=batch_size, steps=steps, seed=seed,
    )  # fmt: skip
    sizes = ModuleSizes(modules)
    smallest = find_smallest(modules, loss, sizes, limit, thresholds)
    if not per_layer:
        return smallest
    # Once from the full model and once from the best of one threshold for all, so that the result
    # is never larger than the latter.
    starts = [smallest.with_threshold(0.0), smallest]
    return min((_Descent(each, loss, sizes, limit).run() for each in starts), key=sizes.mean)


def find_smallest(
    modules: ModuleSet,
    loss: ReuseLoss,
    sizes: "ModuleSizes",
    limit: float,
    thresholds: Iterable[float] | None = None,
) -> ModuleSet:
    """The smallest modules of one threshold within a loss.

    Args:
        modules: Modules with frequencies.
        loss: Measures the loss.
        sizes: Measures the size.
        limit: The largest accepted loss.
        thresholds: The thresholds to choose from; all by default.

    Returns:
        A `ModuleSet`.

    Raises:
        ValueError: If none of `thresholds` is within the loss.
    """
    if thresholds is None:
        parts = nested_thresholds(modules)
        sets = [map(modules.with_threshold, part.tolist()) for part in parts]
    else:
        thresholds = sorted(check_thresholds(thresholds), reverse=True)
        if not thresholds:
            raise ValueError("Expected at least one threshold. Received: thresholds=[]")
        sets = [[modules.with_threshold(each)] for each in thresholds]
    # From the smallest to the largest; sizes take time and are computed only as needed.
    by_size = heapq.merge(*sets, key=sizes.mean)
    while some := list(itertools.islice(by_size, TOGETHER)):
        index = loss.first_within(some, limit)
        if index is not None:
            return some[index]
    raise ValueError(
        f"Expected a threshold that loses at most max_accuracy_loss={limit}. Received: "
        f"thresholds={thresholds}, which all lose more. `threshold_curve` shows how much; the "
        "threshold 0 is the full model"
    )


def _check_max_loss(max_accuracy_loss: Any) -> float:
    is_number = isinstance(max_accuracy_loss, Real) and not isinstance(max_accuracy_loss, bool)
    if not is_number or not 0 <= max_accuracy_loss < 1:
        raise ValueError(
            "Expected `max_accuracy_loss` in [0, 1), a fraction: 0.01 is one point. Received: "
            f"max_accuracy_loss={max_accuracy_loss!r}"
        )
    return float(max_accuracy_loss)


class ModuleSizes:
    """Mean module sizes of module sets of one model; each different module is sized once.

    Args:
        modules: Modules of the model.
    """

    def __init__(self, modules: ModuleSet):
        self.slicer = modules.slicer
        self.total = trainable_parameters(modules.model)
        self.present = modules.classes_with_modules()
        self._sizes: dict[tuple, int] = {}

    def mean(self, modules: ModuleSet) -> float:
        """Mean of `metrics.module_size` over the classes that have modules.

        Args:
            modules: Other modules of the same model.

        Returns:
            Float; 1.0 is the size of the model.
        """
        sizes = [self._size(modules.union([index]), int(index)) for index in self.present]
        return float(np.mean(sizes)) / self.total

    def _size(self, units: dict[str, np.ndarray], index: int) -> int:
        key = (index, *(np.packbits(mask).tobytes() for mask in units.values()))
        if key not in self._sizes:
            self._sizes[key] = self.slicer.plan(units, np.array([index])).trainable_size
        return self._sizes[key]


class _Descent:
    """Raises thresholds by smaller and smaller steps, while the modules stay within the loss.

    At each step it first raises the thresholds that save most size for the accuracy they lose.
    """

    def __init__(self, start: ModuleSet, loss: ReuseLoss, sizes: ModuleSizes, limit: float):
        self.loss = loss
        self.sizes = sizes
        self.limit = limit
        present = start.classes_with_modules()
        # Per activation the frequencies of all units of all classes, ascending.
        self.frequencies = {
            name: np.sort(table[present], axis=None) for name, table in start.frequency.items()
        }
        thresholds = {name: self._next_frequency(name, start.threshold) for name in start.units}
        self.current = start.with_threshold(thresholds)

    def run(self) -> ModuleSet:
        for share in STEPS:
            while smaller := self._smaller(share):
                self.current = min(smaller, key=self.sizes.mean)
        return self.current

    def _smaller(self, share: float) -> list[ModuleSet]:
        """Smaller modules within the loss, from one raised threshold to all of them."""
        raised = self._worthwhile(share)
        together = [
            self._with(dict(itertools.islice(raised.items(), count)))
            for count in range(1, len(raised) + 1)
        ]
        size = self.sizes.mean(self.current)
        losses = self.loss.within(together, self.limit)
        return [
            each
            for each, loss in zip(together, losses, strict=True)
            if np.isfinite(loss) and self.sizes.mean(each) < size
        ]

    def _worthwhile(self, share: float) -> dict[str, float]:
        """Raised thresholds, each within the loss on its own, by size saved per accuracy lost."""
        raised = {name: self._raised(name, share) for name in self.frequencies}
        raised = {name: threshold for name, threshold in raised.items() if threshold is not None}
        alone = [self._with({name: threshold}) for name, threshold in raised.items()]
        before, *after = self.loss.within([self.current, *alone], self.limit)
        lost = np.maximum(np.array(after) - before, ROUNDING)
        saved = self.sizes.mean(self.current) - np.array([self.sizes.mean(each) for each in alone])
        names = list(raised)
        order = [i for i in np.argsort(-saved / lost, kind="stable") if saved[i] > 0]
        return {names[i]: raised[names[i]] for i in order if np.isfinite(lost[i])}

    def _raised(self, name: str, share: float) -> float | None:
        """The threshold that removes this share of the activation's units from the modules."""
        frequencies = self.frequencies[name]
        kept = frequencies[np.searchsorted(frequencies, self.current.threshold[name]) :]
        if not len(kept):
            return None
        next_one = np.searchsorted(kept, kept[0], side="right")
        index = max(next_one, math.ceil(share * len(kept)))
        return float(kept[index]) if index < len(kept) else None

    def _next_frequency(self, name: str, threshold: float) -> float:
        """The lowest frequency not below the threshold; it gives the same modules."""
        frequencies = self.frequencies[name]
        index = np.searchsorted(frequencies, threshold)
        return float(frequencies[index]) if index < len(frequencies) else threshold

    def _with(self, raised: dict[str, float]) -> ModuleSet:
        return self.current.with_threshold({**self.current.threshold, **raised})
