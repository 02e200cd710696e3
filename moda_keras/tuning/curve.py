"""Accuracy and size of modules as functions of tau."""

from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from moda_keras.evaluation import module_size
from moda_keras.modules.module_set import ModuleSet
from moda_keras.tuning.reuse_loss import ReuseLoss
from moda_keras.tuning.thresholds import (
    check_thresholds,
    distinct_thresholds,
    require_modules_of_a_threshold,
)

# Points of a curve without given thresholds.
POINTS = 50


def threshold_curve(
    modules: ModuleSet,
    x: Any,
    y: Any = None,
    thresholds: Iterable[float | Mapping[str, float]] | None = None,
    *,
    subtasks: Iterable[Sequence[int | str]] | None = None,
    batch_size: int = 256,
    steps: int | None = None,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Measures modules at many thresholds, without another pass over the training data.

    Args:
        modules: Modules with frequencies, as `decompose` returns them.
        x: Validation data, as in `tune_threshold`.
        y: Labels: integers (N,), one-hot (N, C) or class names (N,); None if `x` is a dataset.
        thresholds: Floats in [0, 1], or dicts with one for each hidden activation. By default
            `distinct_thresholds`, or 50 of them at even intervals.
        subtasks: Lists of class indices or names, at least two each, over which reuse accuracy is
            averaged. By default `sample_subtasks`.
        batch_size: Number of rows in a prediction.
        steps: Number of batches to draw from a dataset; all by default.
        seed: Seed of the sample of sub-tasks.

    Returns:
        For each threshold, in the given order, a dict:

        - `threshold`: as given.
        - `reuse_accuracy`: accuracy of the composed models, mean over the sub-tasks.
        - `full_accuracy`: accuracy of the full model, choosing among the same classes.
        - `module_size`: parameters of a module over the model's, mean over the classes.
        - `worst_loss`: the largest loss of accuracy of a sub-task.

    Raises:
        ValueError: If the modules have no frequencies, a threshold is not in [0, 1], `x` and `y` do
            not match, or a class of the sub-tasks has no sample.

    Examples:
        ```python
        for row in mk.tuning.threshold_curve(modules, x_val, y_val, [0.5, 0.8, 0.9]):
            print(row["threshold"], row["reuse_accuracy"], row["module_size"])
        ```

    Source: MODA (ICSE 2026), figure 4.
    """
    require_modules_of_a_threshold(modules, "threshold_curve")
    loss = ReuseLoss(modules, x, y, subtasks, batch_size=batch_size, steps=steps, seed=seed)
    if thresholds is None:
        thresholds = _some_thresholds(modules)
    thresholds = check_thresholds(thresholds, (Real, Mapping))
    module_sets = [modules.with_threshold(threshold) for threshold in thresholds]
    full = loss.full_accuracy
    return [
        {
            "threshold": each.threshold,
            "reuse_accuracy": float(accuracy.mean()),
            "full_accuracy": float(full.mean()),
            "module_size": float(np.nanmean(module_size(each))),
            "worst_loss": float((full - accuracy).max()),
        }
        for each, accuracy in zip(module_sets, loss.accuracy(module_sets), strict=True)
    ]


def _some_thresholds(modules: ModuleSet) -> list[float]:
    found = distinct_thresholds(modules)
    chosen = np.linspace(0, len(found) - 1, min(POINTS, len(found))).round().astype(int)
    return found[chosen].tolist()
