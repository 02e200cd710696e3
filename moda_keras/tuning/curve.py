"""Accuracy and size of modules against tau."""

from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from moda_keras.modules.module_set import ModuleSet
from moda_keras.tuning.arguments import check_thresholds, measure_loss
from moda_keras.tuning.candidates import distinct_thresholds
from moda_keras.tuning.module_sizes import ModuleSizes

# Points of a curve whose thresholds are not given.
POINTS = 50


def threshold_curve(
    modules: ModuleSet,
    x: Any,
    y: Any,
    thresholds: Iterable[float | Mapping[str, float]] | None = None,
    *,
    subtasks: Iterable[Sequence[int | str]] | None = None,
    batch_size: int = 256,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Measures modules at many thresholds, with no pass over training data.

    Args:
        modules: Modules with frequencies, as `decompose` finds them.
        x: Validation inputs, an array of N samples, or a list or dict of arrays for a model of
            several inputs.
        y: Labels: integers (N,) or one-hot (N, C).
        thresholds: Floats in [0, 1], or dicts with one for each hidden activation. By default those
            of `distinct_thresholds`, or 50 evenly chosen ones of them.
        subtasks: Lists of class indices or names, at least two each: what reuse accuracy is
            averaged over. By default `sample_subtasks`.
        batch_size: Rows that are computed at a time.
        seed: Seed of the sample of sub-tasks.

    Returns:
        Per threshold, in the given order, a dict:

        - `threshold`: as given.
        - `reuse_accuracy`: accuracy of the composed models, mean over the sub-tasks.
        - `full_accuracy`: that of the full model choosing among the same classes.
        - `module_size`: trainable parameters of a module over the model's, mean over the classes.
        - `worst_loss`: by how much the worst sub-task is below the full model's accuracy.

    Raises:
        ValueError: If the modules have no frequencies, a threshold is not in [0, 1], `x` and `y` do
            not fit, or a class of the sub-tasks has no sample.

    Example:
        ```python
        for row in mk.tuning.threshold_curve(modules, x_val, y_val, [0.5, 0.8, 0.9]):
            print(row["threshold"], row["reuse_accuracy"], row["module_size"])
        ```

    Source: MODA (ICSE 2026), figure 4.
    """
    loss = measure_loss(
        modules, x, y, subtasks=subtasks, statistic="mean", batch_size=batch_size, seed=seed
    )
    thresholds = (
        _some_thresholds(modules)
        if thresholds is None
        else check_thresholds(thresholds, (Real, Mapping))
    )
    module_sets = [modules.with_threshold(threshold) for threshold in thresholds]
    sizes = ModuleSizes(modules)
    full = loss.full_accuracy
    return [
        {
            "threshold": each.threshold,
            "reuse_accuracy": float(accuracy.mean()),
            "full_accuracy": float(full.mean()),
            "module_size": sizes.mean(each),
            "worst_loss": float((full - accuracy).max()),
        }
        for each, accuracy in zip(module_sets, loss.accuracy(module_sets), strict=True)
    ]


def _some_thresholds(modules: ModuleSet) -> list[float]:
    found = distinct_thresholds(modules)
    chosen = np.linspace(0, len(found) - 1, min(POINTS, len(found))).round().astype(int)
    return found[chosen].tolist()
