"""Copies of layers and operations, made from their configs."""

from typing import Any

import keras
import numpy as np


def is_copyable(operation: Any) -> bool:
    """Whether a copy can be made from the config.

    It cannot of a Lambda around a Python function, nor of a layer with a custom object that is not
    registered with `keras.saving`.
    """
    try:
        type(operation).from_config(operation.get_config())
    except Exception:  # a custom layer's constructor may raise anything
        return False
    return True


def copy_operation(operation: Any, name: str, **config: Any) -> Any:
    """A copy of a layer or operation, its weights not yet set.

    Args:
        operation: The original.
        name: Name of the copy.
        **config: Entries of the config that change.

    Returns:
        The copy.
    """
    config = {**operation.get_config(), **config, "name": name}
    is_layer = isinstance(operation, keras.layers.Layer)
    # Every weight is overwritten: random initial values, slow on JAX, would be drawn in vain.
    initializers = [key for key in vars(operation) if is_layer and key.endswith("initializer")]
    zeros = {key: _zeros for key in initializers if config.get(key)}
    return type(operation).from_config({**config, **zeros})


def restore_initializers(copy: Any, original: Any) -> None:
    """Gives a built copy the initializers that `copy_operation` left out."""
    for key, value in list(vars(copy).items()):
        if value is _zeros:
            setattr(copy, key, getattr(original, key))


def set_weights(layer: keras.layers.Layer, values: list[np.ndarray]) -> None:
    """Sets the weights of a built layer."""
    layer.set_weights(values)
    if isinstance(layer, keras.layers.Normalization):
        layer.finalize_state()


def copy_weights(copy: Any, original: Any) -> None:
    """Copies all weights of a layer to its built copy."""
    if copy is original or not getattr(original, "weights", None):
        return
    set_weights(copy, [keras.ops.convert_to_numpy(weight) for weight in original.weights])


def _zeros(shape, dtype=None):
    return np.zeros(shape, "float32")
