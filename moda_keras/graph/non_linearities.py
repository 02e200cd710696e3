"""Classifies operations as non-linearities, by kind."""

from typing import Any

import keras

from moda_keras.graph.operations import is_keras_class, runs_keras_call
from moda_keras.layers.modular_activation import ModularActivation

# Gates and distributions: their outputs weigh or rank other values, they are no features.
_NO_FEATURES = {
    "linear", "softmax", "logsoftmax", "sigmoid", "hardsigmoid", "logsigmoid", "sparsemax",
    "sparsesigmoid",
}  # fmt: skip
_GATES = {"sigmoid", "hardsigmoid", "sparsesigmoid"}
_ACTIVATION_LAYERS = (
    keras.layers.Activation, keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.PReLU,
    keras.layers.ELU, keras.layers.Softmax,
)  # fmt: skip
# Classes of `keras.ops` calls in a graph have no public names.
_ACTIVATION_OPERATIONS = {
    "relu", "relu6", "leakyrelu", "elu", "selu", "celu", "gelu", "silu", "hardsilu", "tanh",
    "hardtanh", "softplus", "softsign", "softshrink", "hardshrink", "tanhshrink", "squareplus",
    "sparseplus", "threshold", "softmax", "logsoftmax", "sigmoid", "hardsigmoid", "logsigmoid",
    "sparsemax",
}  # fmt: skip
_EXACTLY_ZERO = {
    "relu", "relu6", "hardsilu", "hardswish", "hardshrink", "softshrink", "sparseplus",
}  # fmt: skip
_NON_NEGATIVE = {"relu", "relu6", "sparseplus", "softplus"}


def is_feature_activation(operation: Any) -> bool:
    """Whether the operation is, or ends in, a non-linearity that gives features."""
    return activation_name(operation) not in _NO_FEATURES


def is_gate(operation: Any) -> bool:
    """Whether the operation is, or ends in, a non-linearity between 0 and 1 that weighs values."""
    return activation_name(operation) in _GATES


def activation_name(operation: Any) -> str:
    """Name of the non-linearity that the operation is or ends in, without underscores.

    "linear" if it has none.
    """
    if isinstance(operation, keras.layers.TimeDistributed):
        return activation_name(operation.layer)
    if isinstance(operation, ModularActivation):
        name = _function_name(operation.activation)
        return "marked" if name in _NO_FEATURES else name
    activation = activation_of(operation)
    if activation is not None:
        return _function_name(activation)
    class_name = type(operation).__name__.lower()
    if isinstance(operation, _ACTIVATION_LAYERS):
        return class_name
    is_call_of_keras_ops = not isinstance(operation, keras.layers.Layer)
    if is_call_of_keras_ops and class_name in _ACTIVATION_OPERATIONS:
        return class_name
    return "linear"


def activation_of(operation: Any) -> Any:
    """The activation function that the operation applies to its output; None without one.

    Only of layers with one of Keras's own `call` methods. A layer with its own `call` may use an
    attribute `activation` anywhere inside, and put out something linear.
    """
    if isinstance(operation, keras.layers.Layer) and not runs_keras_call(operation):
        return None
    return getattr(operation, "activation", None)


def _function_name(activation: Any) -> str:
    name = getattr(activation, "__name__", None) or type(activation).__name__
    return name.lower().replace("_", "")


def gives_exact_zeros(operation: Any) -> bool:
    """Whether the operation's non-linearity is known to give exact zeros, as ReLU does."""
    return activation_name(operation) in _EXACTLY_ZERO and _is_known(operation)


def is_non_negative(operation: Any) -> bool:
    """Whether the operation's non-linearity is known never to give negative values."""
    # A GRU mixes its activation with the state it begins with, which may be negative.
    is_mixed = isinstance(operation, keras.layers.GRU)
    return activation_name(operation) in _NON_NEGATIVE and _is_known(operation) and not is_mixed


def _is_known(operation: Any) -> bool:
    """Whether the non-linearity is Keras's own, and gives nothing negative if it is a ReLU."""
    if isinstance(operation, keras.layers.TimeDistributed):
        return _is_known(operation.layer)
    activation = getattr(operation, "activation", None)
    # The activation of a layer may itself be a layer: `Dense(8, activation=ReLU(...))`.
    if any(map(_is_leaky, (operation, activation))):
        return False
    if activation is None:
        return is_keras_class(type(operation))
    if isinstance(activation, keras.layers.Layer):
        return is_keras_class(type(activation))
    return getattr(activation, "__module__", "").startswith("keras.")


def _is_leaky(operation: Any) -> bool:
    """Whether it is a ReLU, layer or call of `keras.activations.relu`, with negative values."""
    is_relu = isinstance(operation, keras.layers.ReLU) or type(operation).__name__ == "ReLU"
    return is_relu and bool(operation.negative_slope or operation.threshold < 0)
