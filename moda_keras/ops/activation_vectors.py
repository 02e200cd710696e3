"""Reduces a hidden activation to one number per unit and sample."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from moda_keras.ops.observation import Observation


def unit_magnitudes(activations: Any, *, axis: int = -1, non_negative: bool = False) -> Any:
    """The activation vector of every sample: mean magnitude of each unit over its positions.

    Args:
        activations: Float tensor of shape (B, D), or a map (B, ..., D) whose units are on `axis`.
        axis: The axis of the units.
        non_negative: Promise that no activation is negative.

    Returns:
        Tensor of shape (B, D), float32 (float64 for float64 activations).
    """
    x = _as_float(activations)
    magnitudes = x if non_negative else _magnitude(x)
    positions = Observation(x, axis).positions
    if not positions:
        return magnitudes
    # Not `ops.mean`, which rounds float64 to float32 with PyTorch.
    count = math.prod(ops.shape(x)[i] for i in positions)
    return ops.sum(magnitudes, axis=positions) / ops.cast(count, magnitudes.dtype)


def unit_peaks(activations: Any, *, axis: int = -1) -> Any:
    """The largest magnitude of each unit over its positions.

    Args:
        activations: Float tensor of shape (B, D), or a map (B, ..., D) whose units are on `axis`.
        axis: The axis of the units.

    Returns:
        Tensor of shape (B, D), dtype of the activations. NaN where a unit has a NaN.
    """
    x = ops.convert_to_tensor(activations)
    positions = Observation(x, axis).positions
    return ops.max(ops.abs(x), axis=positions) if positions else ops.abs(x)


def joined_magnitudes(observations: Sequence[Observation]) -> Any:
    """The activation vectors of several activations side by side.

    Returns:
        Tensor of shape (B, sum of D); float64 if any activation is, else float32.
    """
    parts = [
        unit_magnitudes(o.values, axis=o.axis, non_negative=o.non_negative) for o in observations
    ]
    if len(parts) == 1:
        return parts[0]
    # Not `result_type`, which makes float32 of float64 with PyTorch.
    dtypes = {keras.backend.standardize_dtype(part.dtype) for part in parts}
    dtype = "float64" if "float64" in dtypes else "float32"
    return ops.concatenate([ops.cast(part, dtype) for part in parts], axis=1)


def _as_float(activations: Any) -> Any:
    x = ops.convert_to_tensor(activations)
    dtype = keras.backend.standardize_dtype(x.dtype)
    return x if dtype in ("float32", "float64") else ops.cast(x, "float32")


def _magnitude(x: Any) -> Any:
    # `ops.abs` has gradient 1 at 0 with JAX, 0 elsewhere: the sign times x has 0 everywhere.
    return x * ops.stop_gradient(ops.sign(x))
