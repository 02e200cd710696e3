"""Reduces a hidden activation to one number per unit and sample."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from moda_keras.ops.observation import Observation, check_mask


def unit_magnitudes(
    activations: Any, *, axis: int = -1, non_negative: bool = False, mask: Any = None
) -> Any:
    """The activation vector of every sample: mean magnitude of each unit over its positions.

    Args:
        activations: Float tensor of shape (B, D), or a map (B, ..., D) whose units are on `axis`.
        axis: The axis of the units.
        non_negative: Promise that no activation is negative.
        mask: Optional bool tensor (B, T), or of more leading axes: the positions that count. A
            sample without any has a vector of zeros.

    Returns:
        Tensor of shape (B, D), float32 (float64 for float64 activations).
    """
    x = _as_float(activations)
    # Before anything else: at padding there may be NaN, which no factor 0 takes away.
    x = x if mask is None else _without_padding(x, mask, axis)
    return position_means(x if non_negative else _magnitude(x), axis=axis, mask=mask)


def position_means(values: Any, *, axis: int = -1, mask: Any = None) -> Any:
    """The mean of each unit over its positions.

    Args:
        values: Float tensor of shape (B, D), or a map (B, ..., D) whose units are on `axis`.
        axis: The axis of the units.
        mask: As of `unit_magnitudes`.

    Returns:
        Tensor of shape (B, D), dtype of the values.
    """
    positions = Observation(values, axis).positions
    if not positions:
        return values
    if mask is not None:
        values = _without_padding(values, mask, axis)
    # Not `ops.mean`, which rounds float64 to float32 with PyTorch.
    counted = [i for i in positions if mask is None or i >= len(mask.shape)]
    count = ops.cast(math.prod(ops.shape(values)[i] for i in counted), values.dtype)
    if mask is not None:
        unmasked = ops.cast(mask, values.dtype)
        unmasked = ops.sum(unmasked, axis=tuple(range(1, len(mask.shape))))
        count = count * ops.expand_dims(ops.maximum(unmasked, 1), -1)
    return ops.sum(values, axis=positions) / count


def unit_peaks(activations: Any, *, axis: int = -1, mask: Any = None) -> Any:
    """The largest magnitude of each unit over its positions.

    Args:
        activations: Float tensor of shape (B, D), or a map (B, ..., D) whose units are on `axis`.
        axis: The axis of the units.
        mask: As of `unit_magnitudes`. A sample without any position has peaks of zero.

    Returns:
        Tensor of shape (B, D), dtype of the activations. NaN where a unit has a NaN.
    """
    x = ops.convert_to_tensor(activations)
    x = x if mask is None else _without_padding(x, mask, axis)
    positions = Observation(x, axis).positions
    return ops.max(ops.abs(x), axis=positions) if positions else ops.abs(x)


def joined_magnitudes(observations: Sequence[Observation]) -> Any:
    """The activation vectors of several activations side by side.

    Returns:
        Tensor of shape (B, sum of D); float64 if any activation is, else float32.
    """
    parts = [
        unit_magnitudes(o.values, axis=o.axis, non_negative=o.non_negative, mask=o.mask)
        for o in observations
    ]
    if len(parts) == 1:
        return parts[0]
    # Not `result_type`, which makes float32 of float64 with PyTorch.
    dtypes = {keras.backend.standardize_dtype(part.dtype) for part in parts}
    dtype = "float64" if "float64" in dtypes else "float32"
    return ops.concatenate([ops.cast(part, dtype) for part in parts], axis=1)


def masked_as_vectors(observed: Sequence[Observation]) -> list[Observation]:
    """Observations with a mask as their activation vectors: native operations know no masks."""
    return [
        o
        if o.mask is None
        else Observation(
            unit_magnitudes(o.values, axis=o.axis, non_negative=o.non_negative, mask=o.mask),
            1,
            True,
        )
        for o in observed
    ]


def masked_as_peaks(observed: Sequence[Observation]) -> list[Observation]:
    """Observations with a mask as the largest magnitudes of their units."""
    return [
        o
        if o.mask is None
        else Observation(unit_peaks(o.values, axis=o.axis, mask=o.mask), 1, True)
        for o in observed
    ]


def _without_padding(values: Any, mask: Any, axis: int) -> Any:
    """Zeros in the place of padding."""
    rank = len(values.shape)
    check_mask(mask, values, axis % rank)
    while len(mask.shape) < rank:
        mask = ops.expand_dims(mask, -1)
    return ops.where(ops.cast(mask, "bool"), values, ops.zeros_like(values))


def _as_float(activations: Any) -> Any:
    x = ops.convert_to_tensor(activations)
    dtype = keras.backend.standardize_dtype(x.dtype)
    return x if dtype in ("float32", "float64") else ops.cast(x, "float32")


def _magnitude(x: Any) -> Any:
    # `ops.abs` has gradient 1 at 0 with JAX, 0 elsewhere: the sign times x has 0 everywhere.
    return x * ops.stop_gradient(ops.sign(x))
