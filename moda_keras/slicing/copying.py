"""Copies of layers and operations, made from their configs."""

from typing import Any

import keras
import numpy as np

from moda_keras.graph import is_keras_class


def copy_operation(operation: Any, name: str, **config: Any) -> Any:
    """A copy of a layer or operation, its weights not yet set.

    Args:
        operation: The original.
        name: Name of the copy.
        **config: Entries of the config that change.

    Returns:
        The copy.
    """
    config = {**_cheap_config(operation), **config, "name": name}
    return type(operation).from_config(config)


def copy_or_share(operation: Any, name: str, **config: Any) -> Any:
    """As `copy_operation`, but gives the original itself if it is not copyable."""
    try:
        return copy_operation(operation, name, **config)
    except Exception:
        if config:
            raise
        return operation


def is_copyable(operation: Any) -> bool:
    """Whether a copy can be made from the config.

    It cannot of a Lambda around a Python function, nor of a layer whose constructor takes what its
    config does not tell.
    """
    return copy_or_share(operation, operation.name) is not operation


def copy_weights(copy: Any, original: Any) -> None:
    """Copies all weights of a layer to its built copy."""
    if copy is original or not getattr(original, "weights", None):
        return
    set_weights(copy, original, [keras.ops.convert_to_numpy(w) for w in original.weights])


def set_weights(copy: keras.layers.Layer, original: Any, values: list[np.ndarray]) -> None:
    """Sets the weights of a built copy, and gives it the original's initializers."""
    copy.set_weights(values)
    for holder, model in zip(_holders(copy), _holders(original), strict=True):
        for key, value in list(vars(holder).items()):
            if isinstance(value, _Zeros):
                setattr(holder, key, getattr(model, key))
    if isinstance(copy, keras.layers.Normalization):
        copy.finalize_state()


def _cheap_config(operation: Any) -> dict[str, Any]:
    """The config, for Keras's own layers without what is slow or cannot be deserialized."""
    config = operation.get_config()
    if not isinstance(operation, keras.layers.Layer) or not is_keras_class(type(operation)):
        return config
    held = {key for holder in _holders(operation) for key in vars(holder)}
    for key in config.keys() & held:
        # Every weight is overwritten: random values, slow on JAX, would be drawn in vain.
        if key.endswith("initializer") and config[key] is not None:
            config[key] = _Zeros()
    activation = getattr(operation, "activation", None)
    if "activation" in config and not isinstance(activation, keras.layers.Layer):
        config["activation"] = activation  # it may be a function that is not registered
    return config


def _holders(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """The layers that hold the layer's initializers: itself, and the cell of a recurrent one."""
    return [layer, layer.cell] if isinstance(layer, keras.layers.RNN) else [layer]


class _Zeros(keras.initializers.Initializer):
    """An instance, not a function: some layers make copies of their initializers."""

    def __call__(self, shape, dtype=None):
        return np.zeros(shape, "float32")

    def get_config(self):
        return {}
