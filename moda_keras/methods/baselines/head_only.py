"""The baseline that everyone has: the outputs of some classes, from the full model."""

from collections.abc import Sequence

import keras

from moda_keras.modules.module_set import ModuleSet


def head_only(model: keras.Model, class_names: Sequence[str] | None = None) -> ModuleSet:
    """Modules that have all units, and differ in their logits alone.

    A model composed of them is the full model without the outputs of the other classes: as accurate
    as the full model that chooses among the same classes, and hardly smaller.

    Args:
        model: A built Functional or Sequential model with one output (batch, C).
        class_names: C names; "0", "1", ... by default.

    Returns:
        A `ModuleSet`.

    Raises:
        ValueError: If the model has no graph or several outputs, or there are not C names.

    Examples:
        >>> import keras
        >>> import moda_keras as mk
        >>> model = keras.Sequential([
        ...     keras.Input((4,)),
        ...     keras.layers.Dense(8, activation="relu"),
        ...     keras.layers.Dense(10),
        ... ])
        >>> modules = mk.methods.baselines.head_only(model)
        >>> small = mk.compose(modules, [3, 7])
        >>> model.count_params(), small.count_params()
        (130, 58)
    """
    return ModuleSet.from_units(model, {}, class_names)
