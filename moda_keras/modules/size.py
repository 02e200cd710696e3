"""Computes the sizes of modules and composed models without building them."""

from collections.abc import Iterable

import numpy as np

from moda_keras.modules.checks import check_modules
from moda_keras.modules.module_set import ModuleSet


def composed_size(modules: ModuleSet, classes: Iterable[int | str]) -> float:
    """Trainable parameters of the model composed of these classes, over those of the original.

    Args:
        modules: The modules.
        classes: Class indices or names.

    Returns:
        Float; 1.0 is the size of the original.

    Raises:
        ValueError: If a class is unknown, repeated or has no module, or the model is frozen.

    Source: MODA (ICSE 2026), section 4, "Composed Model Size".
    """
    check_modules(modules)
    return modules.plan(classes).relative_size


def module_size(modules: ModuleSet) -> np.ndarray:
    """Size of every module: parameters over those of the original, frozen ones too.

    Args:
        modules: The modules.

    Returns:
        Float array (C,); NaN for a class that had no training sample.

    Source: MODA (ICSE 2026), section 4, "Module Size".
    """
    check_modules(modules)
    present = modules.classes_with_modules()
    sizes = np.full(modules.num_classes, np.nan)
    sizes[present] = [composed_size(modules, [index]) for index in present]
    return sizes
