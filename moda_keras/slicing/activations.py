"""Finds the activation functions that act per channel, and maps constants through them."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from moda_keras.graph import Step, kind_of, operations_of

_MIXING_FUNCTIONS = {"glu", "log_softmax", "softmax", "sparsemax"}
_PER_CHANNEL_FUNCTIONS = {
    function
    for name, function in vars(keras.activations).items()
    if callable(function) and name not in _MIXING_FUNCTIONS | {"deserialize", "get", "serialize"}
}
_PER_CHANNEL_LAYERS = (keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.ELU)
_MIXING_OPERATIONS = {"Glu", "LogSoftmax", "Softmax", "Sparsemax"}
# Classes of `keras.ops` calls that give one value for each.
ELEMENTWISE_OPERATIONS = (
    "Abs", "Absolute", "Cast", "Celu", "Clip", "Elu", "Exp", "Expm1", "Gelu", "HardShrink",
    "HardSigmoid", "HardSilu", "HardTanh", "LeakyRelu", "Log1p", "LogSigmoid", "LogSoftmax",
    "Log", "Negative", "ReLU", "Reciprocal", "Relu", "Relu6", "Rsqrt", "Selu", "Sigmoid", "Sign",
    "Silu", "SoftShrink", "Softmax", "Softplus", "Softsign", "SparsePlus", "SparseSigmoid",
    "Sparsemax", "Sqrt", "Square", "Squareplus", "Tanh", "TanhShrink", "Threshold",
)  # fmt: skip
_ARITHMETIC = {
    "Add", "Divide", "Maximum", "Minimum", "Multiply", "Power", "Subtract", "TrueDivide",
}  # fmt: skip


def mixes_channels(operation: Any) -> bool:
    """Whether the operation is, or ends in, an activation that reads several channels at once.

    An activation function from outside Keras is taken to do so, unless it consists of operations
    of `keras.ops` on single values.
    """
    activation = getattr(operation, "activation", None)
    if activation is not None:
        is_known = isinstance(activation, _PER_CHANNEL_LAYERS)
        return not (is_known or activation in _PER_CHANNEL_FUNCTIONS or _is_elementwise(activation))
    return type(operation).__name__ in _MIXING_OPERATIONS


def _is_elementwise(function: Callable) -> bool:
    """Whether a function maps every value on its own, by operations that are known to do so."""
    known = {*ELEMENTWISE_OPERATIONS, *_ARITHMETIC} - _MIXING_OPERATIONS
    found = operations_of(function)
    return bool(found) and all(kind_of(each) in known for each in found)


def is_softmax_over_positions(step: Step) -> bool:
    """Whether the step is a softmax along another axis than that of the channels."""
    axis = getattr(step.operation, "axis", None)
    if type(step.operation).__name__ != "Softmax" or not isinstance(axis, int):
        return False
    return axis % len(step.inputs[0].shape) != step.inputs[0].channel_axis


def apply_to_constants(function: Callable, values: np.ndarray) -> np.ndarray:
    """`function`, which works on each channel alone, of a float array `(channels,)`."""
    return _evaluate(lambda x: function(x), values, rank=1, dtype="float32")


def step_on_constants(step: Step, values: np.ndarray) -> np.ndarray:
    """What a step that works on each channel alone makes of a float array `(channels,)`."""
    tensor = step.inputs[0]

    def call(x):
        args, kwargs = step.arguments({tensor: x})
        return step.operation(*args, **kwargs)

    return _evaluate(call, values, rank=len(tensor.shape), dtype=tensor.keras_tensor.dtype)


def _evaluate(call: Callable, values: np.ndarray, rank: int, dtype: str) -> np.ndarray:
    # Padded to a power of two, because JAX and XLA recompile for every length.
    length = max(64, 1 << (len(values) - 1).bit_length())
    padded = np.pad(values, (0, length - len(values))).reshape((1,) * (rank - 1) + (length,))
    result = call(keras.ops.convert_to_tensor(padded, dtype=dtype))
    flat = keras.ops.convert_to_numpy(keras.ops.cast(result, "float32")).reshape(-1)
    return flat[: len(values)].astype("float64")
