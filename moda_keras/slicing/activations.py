"""Finds the activation functions that act per channel, and maps constants through them."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from moda_keras.graph import Step

_MIXING_FUNCTIONS = {"glu", "log_softmax", "softmax", "sparsemax"}
_PER_CHANNEL_FUNCTIONS = {
    function
    for name, function in vars(keras.activations).items()
    if callable(function) and name not in _MIXING_FUNCTIONS | {"deserialize", "get", "serialize"}
}
_PER_CHANNEL_LAYERS = (keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.ELU)
_MIXING_OPERATIONS = {"Glu", "LogSoftmax", "Softmax", "Sparsemax"}


def mixes_channels(operation: Any) -> bool:
    """Whether the operation is, or ends in, an activation that reads several channels at once.

    An activation function from outside Keras is taken to do so, for it might.
    """
    activation = getattr(operation, "activation", None)
    if activation is not None:
        is_known = isinstance(activation, _PER_CHANNEL_LAYERS)
        return not (is_known or activation in _PER_CHANNEL_FUNCTIONS)
    return type(operation).__name__ in _MIXING_OPERATIONS


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
