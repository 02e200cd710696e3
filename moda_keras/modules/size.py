"""Computes the sizes of modules and composed models without building them."""

from collections.abc import Iterable

import keras
import numpy as np

from moda_keras.modules.checks import check_modules
from moda_keras.modules.kept_outputs import slicer_of
from moda_keras.modules.module_set import ModuleSet


def composed_size(
    modules: ModuleSet,
    classes: Iterable[int | str],
    *,
    keep_outputs: keras.Model | None = None,
) -> float:
    """Parameters of the model composed of these classes, over those of the original.

    Args:
        modules: The modules.
        classes: Class indices or names.
        keep_outputs: As of `compose`; then both sizes are with the other outputs.

    Returns:
        Float; 1.0 is the size of the original.

    Raises:
        ValueError: If a class is unknown, repeated or has no module, the model has no parameters,
            or `keep_outputs` does not fit, as in `compose`.

    Source: MODA (ICSE 2026), section 4, "Composed Model Size".
    """
    check_modules(modules)
    chosen = modules.resolve_classes(classes)
    return slicer_of(modules, keep_outputs).plan(modules.union(chosen), chosen).relative_size


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
