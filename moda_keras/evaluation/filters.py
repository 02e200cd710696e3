"""The kernel-level measures of the MwT paper (ICSE 2024): retention rate, cohesion, coupling.

A kernel is a filter of a convolutional layer, that is, a channel of a hidden activation that is a
map. In a model without maps, the units of its dense layers take the place of kernels.
"""

from typing import Any

import numpy as np

from moda_keras.evaluation.samples import check_samples
from moda_keras.graph import HiddenActivation
from moda_keras.modules.checks import check_modules
from moda_keras.modules.jaccard import mean_jaccard
from moda_keras.modules.module_set import ModuleSet
from moda_keras.observing.activation_probe import ActivationProbe
from moda_keras.observing.labelled_arrays import draw_of_each_class, loadable, take_samples


def kernel_retention_rate(modules: ModuleSet) -> float:
    """Fraction of the kernels that a module retains, averaged over modules.

    Args:
        modules: The modules.

    Returns:
        Float in [0, 1].

    Source: MwT (ICSE 2024), section 4.1, metric (ii).
    """
    return float(_kernels_of_modules(modules).mean())


def coupling(modules: ModuleSet) -> float:
    """Jaccard index of two modules' kernels, averaged over pairs of modules.

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
    """Jaccard index of the kernels that two samples of a class activate, averaged over classes.

    Args:
        modules: The modules.
        x: Inputs: an array of N samples, or a list or dict of arrays for a model of several inputs.
        y: Labels: integers (N,) or (N, 1), one-hot (N, C), or class names.
        samples_per_class: How many samples of each class to draw at most; the number of pairs
            grows with its square.
        seed: Seed of that draw.
        epsilon: Magnitude above which a kernel counts as active if its non-linearity never gives
            exact zeros.

    Returns:
        Float in [0, 1]; higher is better. NaN if no class has two samples.

    Source: MwT (ICSE 2024), definition 2.
    """
    check_modules(modules)
    x, y = check_samples(modules, x, y)
    probe = ActivationProbe(modules.slicer.graph)
    drawn = draw_of_each_class(y, modules.classes_with_modules(), samples_per_class, seed)
    values = [
        mean_jaccard(_active_kernels(probe, take_samples(x, rows), epsilon))
        for rows in drawn
        if len(rows) > 1
    ]
    return float(np.mean(values)) if values else float("nan")


def _kernel_activations(hidden: list[HiddenActivation]) -> list[HiddenActivation]:
    return [h for h in hidden if len(h.tensor.shape) > 2] or hidden


def _kernels_of_modules(modules: ModuleSet) -> np.ndarray:
    """Bool array (modules, kernels)."""
    check_modules(modules)
    present = modules.classes_with_modules()
    hidden = _kernel_activations(modules.hidden_activations)
    return np.concatenate([modules.units[h.name][present] for h in hidden], axis=1)


def _active_kernels(probe: ActivationProbe, x: Any, epsilon: float) -> np.ndarray:
    """Bool array (samples, kernels): which kernels each sample activates."""
    activations = dict(zip(probe.hidden, probe.predict(loadable(x), verbose=0), strict=True))
    active = [
        np.any(
            np.abs(activations[h]) > (0.0 if h.exact_zero else epsilon),
            axis=tuple(i for i in range(1, activations[h].ndim) if i != h.channel_axis),
        )
        for h in _kernel_activations(list(probe.hidden))
    ]
    return np.concatenate(active, axis=1)
