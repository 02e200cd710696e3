"""The kernel-level measures of the MwT paper (ICSE 2024): retention rate, cohesion, coupling.

A kernel is a filter of a convolutional layer, here a channel of a hidden activation that is a map;
for a model without maps, a unit of its dense layers.
"""

from itertools import combinations
from typing import Any

import numpy as np

from moda_keras.graph import HiddenActivation
from moda_keras.modules.module_set import ModuleSet
from moda_keras.observing.activation_probe import ActivationProbe


def kernel_retention_rate(modules: ModuleSet) -> float:
    """Mean over modules of the fraction of kernels that the module retains.

    Args:
        modules: The modules.

    Returns:
        Float in [0, 1].

    Source: MwT (ICSE 2024), section 4.1, metric (ii).
    """
    return float(_kernels_of_modules(modules).mean())


def coupling(modules: ModuleSet) -> float:
    """Mean over pairs of modules of the Jaccard index of their kernels.

    Args:
        modules: The modules.

    Returns:
        Float in [0, 1]; lower is better. NaN if there is no pair.

    Source: MwT (ICSE 2024), definition 3.
    """
    return mean_jaccard(_kernels_of_modules(modules))


def cohesion(
    modules: ModuleSet,
    x: Any,
    y: Any,
    *,
    samples_per_class: int = 200,
    seed: int = 0,
    epsilon: float = 1e-3,
) -> float:
    """Mean over classes of the Jaccard index of the kernels that two samples of a class activate.

    Args:
        modules: The modules.
        x: Inputs, an array of N samples.
        y: Labels, integers (N,).
        samples_per_class: Samples to draw from each class, for the pairs grow with their square.
        seed: Seed of that draw.
        epsilon: From what magnitude on a kernel is active whose non-linearity gives no exact zeros.

    Returns:
        Float in [0, 1]; higher is better.

    Source: MwT (ICSE 2024), definition 2.
    """
    probe = ActivationProbe(modules.slicer.graph)
    random, y = np.random.default_rng(seed), np.asarray(y).reshape(-1)
    values = []
    for label in modules.classes_with_modules():
        rows = random.permutation(np.flatnonzero(y == label))[:samples_per_class]
        if len(rows) > 1:
            values.append(mean_jaccard(_active_kernels(probe, x[rows], epsilon)))
    return float(np.mean(values)) if values else float("nan")


def _kernel_activations(hidden: list[HiddenActivation]) -> list[HiddenActivation]:
    return [h for h in hidden if len(h.tensor.shape) > 2] or hidden


def _kernels_of_modules(modules: ModuleSet) -> np.ndarray:
    """Bool array (modules, kernels)."""
    present = modules.classes_with_modules()
    hidden = _kernel_activations(modules.hidden_activations)
    return np.concatenate([modules.units[h.name][present] for h in hidden], axis=1)


def _active_kernels(probe: ActivationProbe, x: Any, epsilon: float) -> np.ndarray:
    """Bool array (samples, kernels): which kernels each sample activates."""
    activations = dict(zip(probe.hidden, probe.predict(x, verbose=0), strict=True))
    active = [
        np.any(
            np.abs(activations[h]) > (0.0 if h.exact_zero else epsilon),
            axis=tuple(i for i in range(1, activations[h].ndim) if i != h.channel_axis),
        )
        for h in _kernel_activations(list(probe.hidden))
    ]
    return np.concatenate(active, axis=1)


def mean_jaccard(sets: np.ndarray) -> float:
    """Mean Jaccard index over pairs of rows; two empty rows are alike.

    Args:
        sets: Bool array (sets, elements).

    Returns:
        Float in [0, 1]; NaN if there is no pair.
    """
    sets = sets.astype("float64")
    common, sizes = sets @ sets.T, sets.sum(axis=1)
    pairs = list(combinations(range(len(sets)), 2))
    if not pairs:
        return float("nan")
    rows, columns = np.array(pairs).T
    union = sizes[rows] + sizes[columns] - common[rows, columns]
    index = np.where(union > 0, common[rows, columns] / np.maximum(union, 1), 1.0)
    return float(index.mean())
