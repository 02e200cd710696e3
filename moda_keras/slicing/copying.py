"""Copies of layers and operations, made from their configs."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from moda_keras.files import temporary_folder
from moda_keras.graph import is_keras_class, named_weights, plain_class, shallow_copy
from moda_keras.slicing.foreign_layers import copy_foreign_layer

# Layers that adapt to data have a vocabulary, which is neither in their config nor a weight.
_LOOKUPS = (
    keras.layers.IntegerLookup,
    keras.layers.StringLookup,
    keras.layers.TextVectorization,
)


def copy_operation(operation: Any, name: str, **config: Any) -> Any:
    """A copy of a layer or operation, its weights not yet set.

    Args:
        operation: The original.
        name: Name of the copy.
        **config: Entries of the config that change.

    Returns:
        The copy.

    Raises:
        ValueError: If the operation has weights and cannot be made from its config. Without
            weights, the copy then shares what the original holds, such as a Python function.
    """
    if type(operation) is keras.layers.Identity:
        # Keras cannot save one that was made with a policy object, only with a policy's name.
        return keras.layers.Identity(dtype=operation.dtype_policy.name, name=name)
    if config or _is_copyable_by_config(operation):
        return _copy_by_config(operation, name, **config)
    made = copy_foreign_layer(operation, name)
    if made is not None:
        return made
    if getattr(operation, "weights", ()):
        raise ValueError(
            f"Layer {operation.name!r} of class {type(operation).__name__} cannot be copied: it "
            "cannot be created from its config. The new model must not share weights with the "
            "original. Give the class a `get_config` that returns all arguments of its "
            "constructor, or a `from_config` that supplies the missing ones"
        )
    return shallow_copy(operation, name)


def is_sliceable(operation: Any) -> bool:
    """Whether copies with another config can be made.

    They cannot of a Lambda around a Python function, nor of a layer whose constructor takes what
    its config does not have, nor of one whose constructor decides what the config of the Keras
    class that it derives from tells.
    """
    if not _is_copyable_by_config(operation):
        return False
    base = next((each for each in type(operation).__mro__ if is_keras_class(each)), None)
    if base is None or not issubclass(base, keras.layers.Layer):
        return True
    return base.get_config(operation).keys() <= operation.get_config().keys()


def _is_copyable_by_config(operation: Any) -> bool:
    try:
        _copy_by_config(operation, operation.name)
    # Keras's own words for a config that is incomplete, missing, or not safe to load.
    except (TypeError, ValueError, NotImplementedError, AttributeError, KeyError):
        return False
    return True


def _copy_by_config(operation: Any, name: str, **config: Any) -> Any:
    cls = _class_of_copy(operation, config)
    made = cls.from_config({**_cheap_config(operation, cls), **config, "name": name})
    if isinstance(operation, _LOOKUPS):
        _copy_vocabulary(made, operation)
    return made


def _class_of_copy(operation: Any, changed: dict[str, Any]) -> type:
    """Keras's own class where it makes the same layer, so that a copy is plain Keras."""
    cls = plain_class(operation)
    # A rule of the user's may change what only the user's class knows.
    is_known = cls is type(operation) or changed.keys() <= cls.get_config(operation).keys()
    return cls if is_known else type(operation)


def _copy_vocabulary(made: keras.layers.Layer, original: keras.layers.Layer) -> None:
    with temporary_folder() as folder:
        variables: dict[str, Any] = {}
        original.save_own_variables(variables)
        made.load_own_variables(variables)
        original.save_assets(str(folder))
        if any(folder.iterdir()):
            made.load_assets(str(folder))


def copy_weights(made: Any, original: Any, new: Mapping[str, np.ndarray] | None = None) -> None:
    """Copies all weights of a layer to its built copy.

    Args:
        made: The copy.
        original: The layer.
        new: By name, values in place of some of the layer's weights.
    """
    if not getattr(original, "weights", None):
        return
    values = [
        new[name] if new and name in new else keras.ops.convert_to_numpy(weight)
        for name, weight in named_weights(original)
    ]
    set_weights(made, original, values)


def set_weights(made: keras.layers.Layer, original: Any, values: list[np.ndarray]) -> None:
    """Sets the weights of a built copy, and gives it the original's initializers.

    Raises:
        ValueError: If the copy has weights of the original, which would change.
    """
    own = {id(weight) for weight in made.weights}
    if own & {id(weight) for weight in original.weights}:
        raise ValueError(
            f"Layer {original.name!r} of class {type(original).__name__} cannot be copied: its "
            "copy has the same weights, not weights of its own. The new model must not share "
            "weights with the original. Let the layer make its weights, in `build`"
        )
    made.set_weights(values)
    for holder, model in zip(_holders(made), _holders(original), strict=True):
        for key, value in list(vars(holder).items()):
            if isinstance(value, _Zeros):
                setattr(holder, key, getattr(model, key))
    if isinstance(made, keras.layers.Normalization):
        made.finalize_state()
    if getattr(original, "lora_enabled", False):
        made.lora_alpha = original.lora_alpha  # Keras builds the layer with its rank for alpha


def _cheap_config(operation: Any, cls: type) -> dict[str, Any]:
    """The config for a class; for Keras's layers, without slow or non-deserializable parts."""
    config = cls.get_config(operation)
    if not isinstance(operation, keras.layers.Layer) or not is_keras_class(cls):
        return config
    held = {key for holder in _holders(operation) for key in vars(holder)}
    for key in config.keys() & held:
        # Every weight is overwritten: random values, slow on JAX, would be wasted.
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
