"""Queries on a single Keras layer or operation."""

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


def has_changed_weights(operation: Any) -> bool:
    """Whether a layer's weights are not those that its class makes: by quantization or LoRA."""
    is_quantized = getattr(operation, "quantization_mode", None) is not None
    return is_quantized or bool(getattr(operation, "lora_enabled", False))


def named_weights(operation: Any) -> list[tuple[str, keras.Variable]]:
    """The weights of a layer or operation, each with the name that rules know it by.

    It is the weight's own name, but for a `Dense` layer that stands for a product with weights of
    another layer: these have names of their own.
    """
    weights = getattr(operation, "weights", None) or []
    if type(operation) is not keras.layers.Dense or has_changed_weights(operation):
        return [(weight.name, weight) for weight in weights]
    names = {id(operation.kernel): "kernel", id(operation.bias): "bias"}
    return [(names.get(id(weight), weight.name), weight) for weight in weights]


def shallow_copy(operation: Any, name: str) -> Any:
    """A copy without nodes, which shares with the original whatever it holds.

    Args:
        operation: A layer or operation.
        name: Name of the copy.

    Returns:
        The copy.
    """
    made = object.__new__(type(operation))  # `copy.copy` would go through the config
    vars(made).update(vars(operation))
    # Private, as in Keras 3.14 to 3.15: a copy has no place in the graph of the original.
    made._inbound_nodes, made._outbound_nodes = [], []
    made.name = name
    return made


def accepts_training(operation: Any) -> bool:
    """Whether the operation's `call` takes a `training` argument."""
    return "training" in inspect.signature(operation.call).parameters
