"""Finds the Keras class that a layer of another class can be replaced by."""

import inspect
from collections.abc import Mapping
from types import FunctionType, MethodType
from typing import Any

import keras
import numpy as np

from moda_keras.graph.operations import is_keras_class

# What a class may define and still act as its base does, once a layer is made.
_CONSTRUCTION = {"__init__", "from_config", "get_config"}
# What Python itself writes into a class.
_OF_PYTHON = {
    "__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__annotations__",
    "__annotate__", "__annotate_func__", "__annotations_cache__", "__firstlineno__",
    "__static_attributes__",
}  # fmt: skip
# What an instance remembers of its construction, and Keras's weights as torch knows them.
_BOOKKEEPING = {
    "_auto_config", "_auto_config_error_args", "_tracker", "_parameters", "_torch_params",
}  # fmt: skip
_PLAIN = (type(None), bool, int, float, str, bytes)


def plain_class(operation: Any) -> type:
    """Keras's own class, if the operation's class only changes how a layer is constructed.

    Such is a class that drops an argument of an old file and hands the others on. Its layers act as
    those of the class that it derives from: it defines no method beside the constructor,
    `from_config` and `get_config`, and a layer made by it has the state of one made by its base.

    Args:
        operation: A layer or operation.

    Returns:
        The base class, or the operation's own class if that may act differently.
    """
    cls = type(operation)
    if is_keras_class(cls) or not isinstance(operation, keras.layers.Layer):
        return cls
    base = next(each for each in cls.__mro__ if is_keras_class(each))
    if base is keras.layers.Layer or issubclass(base, keras.Model):
        return cls
    added = set(cls.__mro__) - set(base.__mro__)
    if any(set(vars(each)) - _CONSTRUCTION - _OF_PYTHON for each in added):
        return cls
    return base if _makes_the_same(operation, base) else cls


def _makes_the_same(layer: keras.layers.Layer, base: type) -> bool:
    try:
        made = type(layer).from_config(layer.get_config())
        plain = base.from_config(base.get_config(layer))
        return _has_state_of(made, plain)
    except Exception:  # whatever a constructor of the user's raises, or values that do not compare
        return False


def _has_state_of(layer: keras.layers.Layer, plain: keras.layers.Layer) -> bool:
    state, expected = _state(layer), _state(plain)
    added = state.keys() - expected.keys()
    if expected.keys() - state.keys() or any(not _is_note(plain, k, state[k]) for k in added):
        return False
    return all(is_same(state[key], value) for key, value in expected.items())


def _state(layer: keras.layers.Layer) -> dict[str, Any]:
    """The attributes of a layer, without those by which TensorFlow tracks others of them."""
    return {
        key: value
        for key, value in vars(layer).items()
        if key not in _BOOKKEEPING and not key.startswith("_self_")
    }


def _is_note(plain: keras.layers.Layer, key: str, value: Any) -> bool:
    """Whether an added attribute is a value that none of the base's methods can look for."""
    return isinstance(value, _PLAIN) and not key.startswith("_") and not hasattr(plain, key)


def is_same(value: Any, expected: Any) -> bool:
    """Whether two attributes of layers, which may be layers themselves, have the same value.

    Args:
        value: One of them.
        expected: The other.

    Returns:
        Bool. Weights are the same if their shapes and dtypes are.

    Raises:
        Exception: Whatever an object of the user's raises when it is compared.
    """
    if value is expected:
        return True
    if isinstance(expected, keras.layers.Layer):
        return type(value) is type(expected) and _has_state_of(value, expected)
    if type(value) is not type(expected):
        return False
    if isinstance(expected, (FunctionType, MethodType)):
        return _unwrapped(value) is _unwrapped(expected)
    if isinstance(expected, Mapping):
        keys = expected.keys() - _BOOKKEEPING
        is_known = value.keys() - _BOOKKEEPING == keys
        return is_known and all(is_same(value[key], expected[key]) for key in keys)
    if isinstance(expected, (list, tuple)):
        return len(value) == len(expected) and all(map(is_same, value, expected))
    if isinstance(expected, keras.random.SeedGenerator):
        return True  # what it draws is random
    if isinstance(expected, keras.Variable):
        return value.shape == expected.shape and value.dtype == expected.dtype
    if keras.ops.is_tensor(expected) or isinstance(expected, np.ndarray):
        arrays = map(keras.ops.convert_to_numpy, (value, expected))
        return np.array_equal(*arrays)
    if hasattr(expected, "get_config"):
        return value.get_config() == expected.get_config()
    if type(expected).__eq__ is object.__eq__ and is_keras_class(type(expected)):
        return is_same(vars(value), vars(expected))
    return bool(value == expected)


def _unwrapped(function: FunctionType | MethodType) -> Any:
    """The function of a class behind a method that Keras has wrapped for one layer."""
    inner = inspect.unwrap(function)
    return getattr(inner, "__func__", inner)
