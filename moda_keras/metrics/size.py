"""How large modules and composed models are, without building them."""

from collections.abc import Iterable

import keras
import numpy as np

from moda_keras.module_set import ModuleSet


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
    indices = modules.resolve_classes(classes)
    plan = modules.slicer.plan(modules.union(indices), indices)
    return plan.trainable_size / original_size(modules.model)


def module_size(modules: ModuleSet) -> np.ndarray:
    """Size of every module: trainable parameters over those of the original.

    Args:
        modules: The modules.

    Returns:
        Float array (C,); NaN for a class that had no training sample.

    Source: MODA (ICSE 2026), section 4, "Module Size".
    """
    present = modules.classes_with_modules()
    sizes = np.full(modules.num_classes, np.nan)
    sizes[present] = [composed_size(modules, [index]) for index in present]
    return sizes


def original_size(model: keras.Model) -> int:
    """Number of trainable parameters of a model; a ValueError if it has none."""
    size = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    if size == 0:
        raise ValueError(
            "Sizes are counted in trainable parameters. Received: model "
            f"{model.name!r}, which has none; set `model.trainable = True`"
        )
    return size
