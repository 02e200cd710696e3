"""The smallest modules that lose little accuracy."""

import heapq
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from moda_keras.modules.module_set import ModuleSet
from moda_keras.tuning.arguments import check_max_loss, check_thresholds, measure_loss
from moda_keras.tuning.candidates import nested_thresholds
from moda_keras.tuning.module_sizes import ModuleSizes
from moda_keras.tuning.per_layer import tune_each_activation
from moda_keras.tuning.reuse_loss import TOGETHER, ReuseLoss


def tune_threshold(
    modules: ModuleSet,
    x: Any,
    y: Any,
    max_accuracy_loss: float = 0.01,
    *,
    per_layer: bool = False,
    statistic: str = "mean",
    subtasks: Iterable[Sequence[int | str]] | None = None,
    thresholds: Iterable[float] | None = None,
    batch_size: int = 256,
    seed: int = 0,
) -> ModuleSet:
    """Finds the smallest modules within a loss of accuracy, with no pass over training data.

    It looks at every threshold at which modules change (`distinct_thresholds`), from the smallest
    modules to the largest, and takes the first that are within the loss. Most are given up after a
    few samples, when they have already been wrong too often.

    Args:
        modules: Modules with frequencies, as `decompose` finds them.
        x: Validation inputs, an array of N samples, or a list or dict of arrays for a model of
            several inputs.
        y: Labels: integers (N,) or one-hot (N, C).
        max_accuracy_loss: Float in [0, 1). The loss on a sub-task is the accuracy of the full
            model, choosing among the sub-task's classes, minus that of the composed model.
        per_layer: Whether to find a threshold for each hidden activation: a search that saves as
            much size per accuracy lost as it can, never ends with larger modules than one threshold
            for all gives, but does not look at all combinations.
        statistic: "mean" or "worst" of the sub-tasks' losses is to be within `max_accuracy_loss`.
        subtasks: Lists of class indices or names, at least two each. By default `sample_subtasks`:
            a few of every size.
        thresholds: The thresholds to choose from, floats in [0, 1]; all by default. With
            `per_layer`, those that the search starts from.
        batch_size: Rows that are computed at a time.
        seed: Seed of the sample of sub-tasks and of the order of the validation samples.

    Returns:
        A new `ModuleSet`; its `threshold` is what was chosen, a dict if `per_layer`. Modules of
        equal mean size: those of the higher threshold.

    Raises:
        ValueError: If the modules have no frequencies, an argument is impossible, `x` and `y` do
            not fit, a class of the sub-tasks has no sample, or none of `thresholds` is within the
            loss.

    Example:
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
    limit = check_max_loss(max_accuracy_loss)
    loss = measure_loss(
        modules, x, y, subtasks=subtasks, statistic=statistic, batch_size=batch_size, seed=seed
    )
    sizes = ModuleSizes(modules)
    smallest = _smallest_within(modules, loss, sizes, limit, thresholds)
    if not per_layer:
        return smallest
    return tune_each_activation(smallest, loss, sizes, limit)


def _smallest_within(
    modules: ModuleSet,
    loss: ReuseLoss,
    sizes: ModuleSizes,
    limit: float,
    thresholds: Iterable[float] | None,
) -> ModuleSet:
    if thresholds is None:
        parts = nested_thresholds(modules)
        sets = [map(modules.with_threshold, part.tolist()) for part in parts]
    else:
        thresholds = sorted(check_thresholds(thresholds), reverse=True)
        given = [modules.with_threshold(each) for each in thresholds]
        if not given:
            raise ValueError("Expected at least one threshold. Received: thresholds=[]")
        sets = [[each] for each in given]
    # From the smallest to the largest; sizes, which take time, are found out as they are needed.
    by_size = heapq.merge(*sets, key=sizes.mean)
    while some := list(itertools.islice(by_size, TOGETHER)):
        index = loss.first_within(some, limit)
        if index is not None:
            return some[index]
    raise ValueError(
        f"Expected thresholds of which one loses no more than max_accuracy_loss={limit}. Received: "
        f"thresholds={thresholds}, which lose more. `threshold_curve` shows by how much; 0 is the "
        "full model"
    )
