"""Units of modules, layer by layer: how many each has, how many two of them share."""

import numpy as np

from moda_keras.modules.checks import check_modules
from moda_keras.modules.jaccard import mean_jaccard
from moda_keras.modules.module_set import ModuleSet


def shared_units(modules: ModuleSet) -> dict[str, float]:
    """For each activation, the Jaccard index of two modules' units, averaged over pairs.

    Args:
        modules: The modules.

    Returns:
        Dict from activation name to a float in [0, 1], in the order of execution; NaN if there are
        fewer than two modules.
    """
    check_modules(modules)
    present = modules.classes_with_modules()
    return {
        h.name: mean_jaccard(modules.units[h.name][present]) for h in modules.hidden_activations
    }


def unit_shares(modules: ModuleSet) -> dict[str, np.ndarray]:
    """For each activation, the fraction of its units that each module has.

    Args:
        modules: The modules.

    Returns:
        Dict from activation name to a float array (classes with modules,).
    """
    check_modules(modules)
    present = modules.classes_with_modules()
    return {h.name: modules.units[h.name][present].mean(axis=1) for h in modules.hidden_activations}
