"""Measures how much of a model its modules share."""

from collections import defaultdict

import numpy as np

from moda_keras.modules.checks import check_modules
from moda_keras.modules.module_set import ModuleSet
from moda_keras.slicing.plan import KeptWeight, trainable_parameters


def module_overlap(modules: ModuleSet) -> np.ndarray:
    """Weight elements of the original that two modules both have, over all of the original's.

    Args:
        modules: The modules.

    Returns:
        Float array (C, C), symmetric. The diagonal is the share of the original's weights that one
        module has. NaN for classes that had no training sample.

    Source: MODA (ICSE 2026), section 4, "Module Overlap".
    """
    check_modules(modules)
    present = modules.classes_with_modules()
    common = sum(_count_common(kept) for kept in _kept_by_weight(modules, present).values())
    overlap = np.full((modules.num_classes,) * 2, np.nan)
    overlap[np.ix_(present, present)] = common / trainable_parameters(modules.model)
    return overlap


def mean_overlap(modules: ModuleSet) -> float:
    """Mean of `module_overlap` over all pairs of different modules; NaN if there is no pair."""
    overlap = module_overlap(modules)
    pairs = overlap[np.triu_indices(len(overlap), k=1)]
    return float(np.nanmean(pairs)) if np.isfinite(pairs).any() else float("nan")


def layer_overlap(modules: ModuleSet) -> dict[str, float]:
    """Overlap layer by layer: mean over pairs of modules, over the layer's own weights.

    Args:
        modules: The modules.

    Returns:
        Dict from the name of each layer with trainable weights to a float in [0, 1], in the order
        of execution.

    Source: MODA (ICSE 2026), section 5.1.
    """
    check_modules(modules)
    present = modules.classes_with_modules()
    common, total = defaultdict(float), defaultdict(int)
    upper = np.triu_indices(len(present), k=1)
    layers = _layer_of_weight(modules)
    for key, kept in _kept_by_weight(modules, present).items():
        common[layers[key]] += _count_common(kept)[upper].mean() if len(present) > 1 else np.nan
        total[layers[key]] += int(np.prod(kept[0].variable.shape))
    return {layer: float(common[layer] / total[layer]) for layer in total}


def _kept_by_weight(modules: ModuleSet, classes: np.ndarray) -> dict[int, list[KeptWeight]]:
    """Maps the id of every trainable weight to the part that each class's module keeps."""
    kept = defaultdict(list)
    for index in classes:
        for weight in modules.plan([index]).kept_weights:
            if weight.trainable:
                kept[id(weight.variable)].append(weight)
    return kept


def _layer_of_weight(modules: ModuleSet) -> dict[int, str]:
    return {
        id(weight): step.name
        for step in modules.slicer.graph.steps
        for weight in getattr(step.operation, "weights", ())
    }


def _count_common(kept: list[KeptWeight]) -> np.ndarray:
    """Elements of one weight that each two modules share, (k, k).

    A module keeps an outer product of indices, so what two share is the product over the axes of
    the number of indices they share.
    """
    shape = kept[0].variable.shape
    common = np.ones((len(kept), len(kept)))
    for axis, length in enumerate(shape):
        indicator = np.zeros((len(kept), length))
        for row, weight in enumerate(kept):
            indicator[row, weight.indices[axis]] = 1
        common *= indicator @ indicator.T
    return common
