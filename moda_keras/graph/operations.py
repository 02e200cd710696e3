"""Questions about a single Keras layer or operation."""

import inspect
from typing import Any

import keras


def is_keras_class(cls: type) -> bool:
    """Whether a class is Keras's own."""
    return cls.__module__.startswith("keras.")


def kind_of(operation: Any) -> str:
    """Name of the operation's class if it is Keras's own, as those behind `keras.ops` are."""
    cls = type(operation)
    return cls.__name__ if is_keras_class(cls) else ""


def runs_keras_call(layer: keras.layers.Layer) -> bool:
    """Whether the `call` of a layer is one of Keras's own, perhaps inherited by another class."""
    definer = next(cls for cls in type(layer).__mro__ if "call" in vars(cls))
    return is_keras_class(definer)


def accepts_training(operation: Any) -> bool:
    """Whether the operation's `call` takes a `training` argument."""
    return "training" in inspect.signature(operation.call).parameters
