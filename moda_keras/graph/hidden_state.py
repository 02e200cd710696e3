"""State of a layer that neither its weights nor its config have."""

from types import BuiltinFunctionType, FunctionType
from typing import Any

import keras
import numpy as np

from moda_keras.graph.operations import is_keras_class
from moda_keras.graph.plain_class import is_same

_DATA = (
    type(None), bool, int, float, complex, str, bytes, np.ndarray, np.generic, FunctionType,
    BuiltinFunctionType,
)  # fmt: skip


def copy_hidden_state(made: Any, original: Any, *, is_whole: bool) -> None:
    """Gives the built copy of a layer what its config does not tell: data in its attributes.

    Such are attributes of a layer of the user's that were set after it was made, or arguments that
    its `get_config` forgets. Inner layers get theirs too. Keras's own layers have none.

    Args:
        made: The copy, built.
        original: The layer.
        is_whole: Whether the copy has the original's config and all of its channels. If not, only
            what no `build` has decided is copied.
    """
    if not isinstance(original, keras.layers.Layer):
        return
    pairs = list(zip(_layers_of(made), _layers_of(original), strict=False))
    for copy, layer in pairs:
        if type(copy) is type(layer) and not is_keras_class(type(layer)):
            _copy_attributes(copy, layer, is_whole)


def _layers_of(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    return list(layer._flatten_layers(include_self=True, recursive=True))


def _copy_attributes(
    made: keras.layers.Layer, original: keras.layers.Layer, is_whole: bool
) -> None:
    known, fresh = vars(keras.layers.Layer()), {} if is_whole else _fresh_attributes(original)
    for key, value in vars(original).items():
        if key in known or not _is_data(value):
            continue
        found = vars(made).get(key)
        is_decided = not (is_whole or (key in fresh and is_same(found, fresh[key])))
        if not is_decided and _is_data(found) and not is_same(found, value):
            setattr(made, key, keras.tree.map_structure(_copied, value))


def _fresh_attributes(layer: keras.layers.Layer) -> dict[str, Any]:
    """The attributes of a layer of the same config that is not built."""
    try:
        return vars(type(layer).from_config(layer.get_config()))
    except Exception:  # whatever a constructor of the user's raises
        return {}


def _is_data(value: Any) -> bool:
    return all(isinstance(each, _DATA) or _is_tensor(each) for each in keras.tree.flatten(value))


def _is_tensor(value: Any) -> bool:
    """Whether it is a tensor and not a weight, as torch's parameters are."""
    is_weight = isinstance(value, keras.Variable) or type(value).__name__ == "Parameter"
    return keras.ops.is_tensor(value) and not is_weight and _has_values(value)


def _has_values(tensor: Any) -> bool:
    """Whether it is no leftover of a symbolic call."""
    try:
        keras.ops.convert_to_numpy(tensor)
    except Exception:  # of each backend's own kind
        return False
    return True


def _copied(value: Any) -> Any:
    return value.copy() if isinstance(value, np.ndarray) else value
