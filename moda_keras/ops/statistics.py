"""Statistics of hidden activations by class, in public `keras.ops`.

The pairwise cosines of the MODA paper are never formed: a sum of pairwise cosines is a dot product
of class sums of normalised vectors.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from moda_keras.ops.backends import adapter
from moda_keras.ops.labels import class_ids


class ClassStatistics(NamedTuple):
    """What the modular objectives need of one activation; adds up over shards of a batch.

    Attributes:
        sums: Float (C, D): the sum of the normalised activation vectors of each class.
        counts: Float (C,): the number of samples of each class.
        nonzero: Float (C,): the number of those whose activation vector is not all zero.
        l1: Float (C,): the sum of the L1 norms of each class's activation vectors.
    """

    sums: Any
    counts: Any
    nonzero: Any
    l1: Any


def class_statistics(
    activations: Any,
    labels: Any,
    num_classes: int,
    *,
    sample_weight: Any = None,
    axis: int = -1,
    non_negative: bool = False,
) -> ClassStatistics:
    """Class sums of the normalised activation vectors, and what else the objectives need.

    The activation vector of a sample holds the magnitudes |u| of its units; of a map, the mean of
    |u| over its positions. An all-zero vector stays zero when normalised, and gets gradient zero.
    Differentiable; the gradient of |u| at 0 is 0.

    Args:
        activations: Float tensor of shape (B, D), or a map (B, ..., D) whose units are on `axis`.
        labels: Integers of shape (B,) or (B, 1), or one-hot rows of shape (B, C).
        num_classes: C, the number of classes.
        sample_weight: Optional, shape (B,). Samples of weight 0 belong to no class.
        axis: The axis of the units.
        non_negative: Promise that no activation is negative (as after a ReLU), which spares a pass
            over a map.

    Returns:
        A `ClassStatistics`, in float32 (float64 for float64 activations).

    Raises:
        ValueError: If a label is out of range, or shapes do not fit.

    Example:
    >>> import moda_keras as mk
    >>> statistics = mk.ops.class_statistics([[3.0, 4.0], [0.0, 0.0]], [1, 1], num_classes=2)
    >>> [[round(float(v), 1) for v in row] for row in statistics.sums]
    [[0.0, 0.0], [0.6, 0.8]]
    >>> [int(n) for n in statistics.nonzero]
    [0, 1]
    """
    activations = ops.convert_to_tensor(activations)
    ids = class_ids(labels, num_classes, sample_weight)
    axis = check_activation(activations, axis, ids)
    native = adapter.native_class_statistics(activations, ids, num_classes, axis, non_negative)
    if native is not None:
        return ClassStatistics(*native)
    magnitudes = unit_magnitudes(activations, axis=axis, non_negative=non_negative)
    return statistics_of_magnitudes(magnitudes, ids, num_classes)


def statistics_of_magnitudes(magnitudes: Any, ids: Any, num_classes: int) -> ClassStatistics:
    """Class statistics of activation vectors.

    Args:
        magnitudes: Float tensor (B, D) of non-negative elements, from `unit_magnitudes`.
        ids: int32 tensor (B,), from `class_ids`.
        num_classes: C, the number of classes.

    Returns:
        A `ClassStatistics`.

    Raises:
        ValueError: If there is not one label for each sample.
    """
    _check_one_label_each(ids, magnitudes)
    normalized, nonzero = _normalize(magnitudes)
    dtype = magnitudes.dtype
    columns = ops.stack([ops.ones_like(nonzero), nonzero, ops.sum(magnitudes, axis=-1)], axis=-1)
    totals = sum_by_class(ops.cast(columns, dtype), ids, num_classes)
    return ClassStatistics(
        sums=sum_by_class(normalized, ids, num_classes),
        counts=ops.stop_gradient(totals[:, 0]),
        nonzero=ops.stop_gradient(totals[:, 1]),
        l1=totals[:, 2],
    )


def class_similarity(
    activations: Any,
    labels: Any,
    num_classes: int,
    *,
    sample_weight: Any = None,
    axis: int = -1,
    non_negative: bool = False,
) -> Any:
    """Mean cosine similarity of distinct pairs of samples, within and between classes.

    Args:
        activations: Float tensor of shape (B, D), or a map (B, ..., D) whose units are on `axis`.
        labels: Integers of shape (B,) or (B, 1), or one-hot rows of shape (B, C).
        num_classes: C, the number of classes.
        sample_weight: Optional, shape (B,). Samples of weight 0 belong to no class.
        axis: The axis of the units.
        non_negative: Promise that no activation is negative.

    Returns:
        Float tensor of shape (C, C): entry (c, c') is the mean over pairs of a sample of class c
        and another of class c'; 0 where there is no pair.

    Example:
    >>> import moda_keras as mk
    >>> similarity = mk.ops.class_similarity([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], [0, 0, 1], 2)
    >>> [[float(v) for v in row] for row in similarity]
    [[1.0, 0.0], [0.0, 0.0]]
    """
    statistics = class_statistics(
        activations,
        labels,
        num_classes,
        sample_weight=sample_weight,
        axis=axis,
        non_negative=non_negative,
    )
    counts = statistics.counts
    same_class = ops.eye(num_classes, dtype=counts.dtype)
    products = ops.matmul(statistics.sums, ops.transpose(statistics.sums))
    # A sample is no pair with itself: its cosine with itself is 1, or 0 for an all-zero vector.
    products = products - same_class * statistics.nonzero
    pairs = ops.expand_dims(counts, 1) * counts - same_class * counts
    return ops.where(pairs > 0, products / ops.maximum(pairs, 1), ops.zeros_like(products))


def activation_frequency(
    activations: Any,
    labels: Any,
    num_classes: int,
    *,
    sample_weight: Any = None,
    axis: int = -1,
    epsilon: float = 0.0,
) -> Any:
    """Counts for every class how many of its samples activate each unit.

    A unit is active if its magnitude exceeds `epsilon`; a channel of a map, if any position does
    (MODA paper, eq. 9).

    Args:
        activations: Float tensor of shape (B, D), or a map (B, ..., D) whose units are on `axis`.
        labels: Integers of shape (B,) or (B, 1), or one-hot rows of shape (B, C).
        num_classes: C, the number of classes.
        sample_weight: Optional, shape (B,). Samples of weight 0 belong to no class.
        axis: The axis of the units.
        epsilon: Float >= 0. Positive for activations that are never exactly zero, such as GELU.

    Returns:
        int32 tensor of shape (C, D).

    Example:
    >>> import moda_keras as mk
    >>> counts = mk.ops.activation_frequency([[0.0, 2.0], [1.0, 2.0]], [1, 1], num_classes=2)
    >>> [[int(n) for n in row] for row in counts]
    [[0, 0], [1, 2]]
    """
    activations = ops.convert_to_tensor(activations)
    ids = class_ids(labels, num_classes, sample_weight)
    axis = check_activation(activations, axis, ids)
    (counts,), _ = activation_counts([activations], ids, num_classes, [axis], [epsilon])
    return counts


def activation_counts(
    activations: Sequence,
    ids: Any,
    num_classes: int,
    axes: Sequence[int],
    epsilons: Sequence[float],
) -> tuple[list, Any]:
    """The counts of `activation_frequency` for several activations at once.

    Args:
        activations: A float tensors of shape (B, D), or maps (B, ..., D).
        ids: int32 tensor (B,), from `class_ids`.
        num_classes: C, the number of classes.
        axes: Axis of the units of each activation.
        epsilons: For each activation, the magnitude above which a unit is active.

    Returns:
        A int32 tensors (C, D), and an int32 tensor (A,): in how many samples' units of each
        activation, of any class or none, there is a NaN or an infinity.
    """
    native = adapter.native_activation_frequency(activations, ids, num_classes, axes, epsilons)
    if native is not None:
        return native
    counts, not_finite = [], []
    for activation, axis, epsilon in zip(activations, axes, epsilons, strict=True):
        peaks = unit_peaks(activation, axis=axis)
        counts.append(sum_by_class(ops.cast(peaks > epsilon, "int32"), ids, num_classes))
        not_finite.append(ops.sum(ops.cast(ops.logical_not(ops.isfinite(peaks)), "int32")))
    return counts, ops.stack(not_finite)


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
    positions = _position_axes(x, axis)
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
    positions = _position_axes(x, axis)
    return ops.max(ops.abs(x), axis=positions) if positions else ops.abs(x)


def _as_float(activations: Any) -> Any:
    x = ops.convert_to_tensor(activations)
    dtype = keras.backend.standardize_dtype(x.dtype)
    return x if dtype in ("float32", "float64") else ops.cast(x, "float32")


def _magnitude(x: Any) -> Any:
    # `ops.abs` has gradient 1 at 0 with JAX, 0 elsewhere: the sign times x has 0 everywhere.
    return x * ops.stop_gradient(ops.sign(x))


def _position_axes(x: Any, axis: int) -> tuple[int, ...]:
    rank = len(x.shape)
    if rank < 2 or not -rank < axis < rank or axis % rank == 0:
        raise ValueError(
            "Expected activations of shape (batch, units) or (batch, ..., units) with the units "
            f"on `axis`. Received: activations of shape {tuple(x.shape)}, axis={axis}"
        )
    return tuple(i for i in range(1, rank) if i != axis % rank)


def check_activation(activation: Any, axis: int, ids: Any) -> int:
    """Raises a ValueError if the shape of an activation does not fit.

    Args:
        activation: Tensor of shape (B, D), or a map (B, ..., D) whose units are on `axis`.
        axis: The axis of the units.
        ids: int32 tensor (B,), from `class_ids`.

    Returns:
        The axis, positive.
    """
    _position_axes(activation, axis)
    _check_one_label_each(ids, activation)
    return axis % len(activation.shape)


def _check_one_label_each(ids: Any, rows: Any) -> None:
    if None not in (ids.shape[0], rows.shape[0]) and ids.shape[0] != rows.shape[0]:
        raise ValueError(
            "Expected one label for each sample. Received: "
            f"{ids.shape[0]} labels for {rows.shape[0]} samples"
        )


def _normalize(vectors: Any) -> tuple[Any, Any]:
    """Vectors divided by their norm, and 1 for each that is not zero.

    Dividing by the largest element first, a constant to the gradient, keeps squares of huge and
    tiny elements finite; it cancels out of value and gradient.
    """
    scale = ops.stop_gradient(ops.max(vectors, axis=-1, keepdims=True))
    is_zero = scale == 0
    scaled = vectors / ops.where(is_zero, ops.ones_like(scale), scale)
    squares = ops.sum(ops.square(scaled), axis=-1, keepdims=True)
    inverse = ops.rsqrt(ops.where(is_zero, ops.ones_like(squares), squares))
    # The product with an exact zero is what stops the gradient of an all-zero vector.
    inverse = ops.where(is_zero, ops.zeros_like(inverse), inverse)
    nonzero = ops.cast(ops.logical_not(is_zero), vectors.dtype)
    return scaled * inverse, ops.squeeze(nonzero, axis=-1)


def sum_by_class(rows: Any, ids: Any, num_classes: int) -> Any:
    """Sums the rows of each class.

    Args:
        rows: Tensor (B, D).
        ids: int32 tensor (B,), from `class_ids`. Rows of no class are left out.
        num_classes: C, the number of classes.

    Returns:
        Tensor (C, D), dtype of the rows.
    """
    # Rows of no class fall into one more segment.
    return adapter.segment_sum(rows, ids, num_classes + 1)[:num_classes]
