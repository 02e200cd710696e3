"""How many units modules have in common, layer by layer."""

import numpy as np

from moda_keras.evaluation.filters import mean_jaccard
from moda_keras.modules.module_set import ModuleSet


def shared_units(modules: ModuleSet) -> dict[str, float]:
    """For each activation, the mean over pairs of modules of the share of units in common.

    Args:
        modules: The modules.

    Returns:
        Dict from activation name to the mean Jaccard index of two modules' units, a float in
        [0, 1], in the order of execution; NaN if there is no pair.
    """
    present = modules.classes_with_modules()
    return {
        h.name: mean_jaccard(modules.units[h.name][present]) for h in modules.hidden_activations
    }


def unit_shares(modules: ModuleSet) -> dict[str, np.ndarray]:
    """For each activation, the share of its units that each module has.

    Args:
        modules: The modules.

    Returns:
        Dict from activation name to a float array (classes with modules,).
    """
    present = modules.classes_with_modules()
    return {h.name: modules.units[h.name][present].mean(axis=1) for h in modules.hidden_activations}
