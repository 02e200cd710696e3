"""The kernel-level measures of the MwT paper (ICSE 2024): retention rate, cohesion, coupling.

A kernel is a filter of a convolutional layer, that is, a channel of a hidden activation that is a
map. In a model without maps, the units of its dense layers take the place of kernels. In a model
with mask generators (`moda_keras.methods.mwt`), the masks say which kernels a sample needs, and the
kernels of convolutions without a mask are in every module and needed by every sample.
"""

from typing import Any

import numpy as np

from moda_keras.evaluation.samples import check_samples
from moda_keras.graph import HiddenActivation
from moda_keras.layers import ModularActivation
from moda_keras.methods.mwt.masked_graph import count_unmasked_kernels
from moda_keras.modules.checks import check_modules
from moda_keras.modules.jaccard import mean_jaccard
from moda_keras.modules.module_set import ModuleSet
from moda_keras.observing.activation_probe import ActivationProbe, without_padding
from moda_keras.observing.labelled_arrays import draw_of_each_class, loadable, take_samples

# For activations that are never exactly zero, of modules that do not know what counted as active.
_EPSILON = 1e-3


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

    Source: MwT (ICSE 2024), definition 3 and equation 3.
    """
    return mean_jaccard(_kernels_of_modules(modules))


def cohesion(
    modules: ModuleSet,
    x: Any,
    y: Any,
    *,
    samples_per_class: int = 200,
    seed: int = 0,
    epsilon: float | None = None,
    within_modules: bool = True,
) -> float:
    """Jaccard index of the kernels that two samples of a class activate, averaged over classes.

    A kernel is active in a sample if its mask is above 0, in a model with mask generators; in
    others, if its map is not zero at some position. Where a `ModularActivation` passes its input
    through, as in `mwt.modularize` without generators, it is active if its map is above 0 at some
    position: what a ReLU behind it lets through.

    Args:
        modules: The modules.
        x: Inputs: an array of N samples, or a list or dict of arrays for a model of several inputs.
        y: Labels: integers (N,) or (N, 1), one-hot (N, C), or class names.
        samples_per_class: How many samples of each class to draw at most; the number of pairs
            grows with its square.
        seed: Seed of that draw.
        epsilon: Magnitude above which a kernel counts as active if its non-linearity never gives
            exact zeros. By default what counted as active when the modules were made, if they know
            it, and 0.001 otherwise.
        within_modules: Whether only the kernels of the class's module count, as in the paper's
            tables, where cohesion depends on the threshold. False takes all kernels, as in its
            figure 5.

    Returns:
        Float in [0, 1]; higher is better. NaN if no class has two samples.

    Source: MwT (ICSE 2024), definition 2 and equation 2.
    """
    check_modules(modules)
    x, y = check_samples(modules, x, y)
    probe = ActivationProbe(modules.slicer.graph)
    classes = modules.classes_with_modules()
    drawn = draw_of_each_class(y, classes, samples_per_class, seed)
    kernels = _kernels_of_modules(modules)
    values = []
    for own, rows in zip(kernels, drawn, strict=True):
        if len(rows) > 1:
            active = _active_kernels(modules, probe, take_samples(x, rows), epsilon)
            values.append(mean_jaccard(active & own if within_modules else active))
    return float(np.mean(values)) if values else float("nan")


def _kernel_activations(hidden: list[HiddenActivation]) -> list[HiddenActivation]:
    return [h for h in hidden if len(h.tensor.shape) > 2] or hidden


def _kernels_of_modules(modules: ModuleSet) -> np.ndarray:
    """Bool array (modules, kernels)."""
    check_modules(modules)
    present = modules.classes_with_modules()
    hidden = _kernel_activations(modules.hidden_activations)
    return _with_unmasked(modules, [modules.units[h.name][present] for h in hidden])


def _active_kernels(
    modules: ModuleSet, probe: ActivationProbe, x: Any, epsilon: float | None
) -> np.ndarray:
    """Bool array (samples, kernels): which kernels each sample activates."""
    activations = dict(
        zip(probe.hidden, without_padding(probe.predict(loadable(x), verbose=0)), strict=True)
    )
    active = [
        np.any(
            _is_active(modules, h, activations[h], epsilon),
            axis=tuple(i for i in range(1, activations[h].ndim) if i != h.channel_axis),
        )
        for h in _kernel_activations(list(probe.hidden))
    ]
    return _with_unmasked(modules, active)


def _is_active(
    modules: ModuleSet, hidden: HiddenActivation, values: np.ndarray, epsilon: float | None
) -> np.ndarray:
    known = (modules.epsilons or {}).get(hidden.name)
    if hidden.exact_zero:
        return values != 0
    if epsilon is None and known is None and _only_marks(hidden.operation):
        return values > 0
    chosen = known if epsilon is None else epsilon
    return np.abs(values) > (_EPSILON if chosen is None else chosen)


def _only_marks(operation: Any) -> bool:
    return isinstance(operation, ModularActivation) and operation.passes_through


def _with_unmasked(modules: ModuleSet, tables: list[np.ndarray]) -> np.ndarray:
    """Tables (rows, kernels) side by side, and the kernels that have no mask."""
    slicer = modules.slicer
    unmasked = count_unmasked_kernels(slicer.graph, slicer.on_logit_path)
    return np.concatenate([*tables, np.ones((len(tables[0]), unmasked), bool)], axis=1)
