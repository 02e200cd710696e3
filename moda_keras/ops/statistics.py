"""Statistics of hidden activations by class, in public `keras.ops`.

The pairwise cosines of the MODA paper are never formed: a sum of pairwise cosines is a dot product
of class sums of normalised vectors.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from moda_keras.ops.activation_vectors import joined_magnitudes, masked_as_vectors
from moda_keras.ops.backends import backend
from moda_keras.ops.labels import class_ids
from moda_keras.ops.observation import Observation, check_one_label_each, observations


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


class JointStatistics(NamedTuple):
    """The class statistics of A activations side by side; adds up over shards of a batch.

    Attributes:
        sums: Float (C, U): as in `ClassStatistics`, U the units of all activations.
        counts: Float (C,): the number of samples of each class.
        nonzero: Float (C, A).
        l1: Float (C, A).
        units: The number of units of each activation.
    """

    sums: Any
    counts: Any
    nonzero: Any
    l1: Any
    units: tuple[int, ...]

    @classmethod
    def of_one(cls, statistics: ClassStatistics) -> "JointStatistics":
        """Those of a single activation."""
        sums, counts, nonzero, l1 = statistics
        return cls(sums, counts, nonzero[:, None], l1[:, None], (sums.shape[-1],))

    def over_replicas(self) -> "JointStatistics":
        """Those of the global batch, if replicas train on parts of it: one collective operation."""
        if backend.replicas() == 1:
            return self
        parts = (self.sums, self.counts, self.nonzero, self.l1)
        flat = ops.concatenate([ops.reshape(part, (-1,)) for part in parts])
        total = backend.all_reduce_sum(flat)
        ends = np.cumsum([np.prod(part.shape, dtype=int) for part in parts])[:-1].tolist()
        sums, counts, nonzero, l1 = (
            ops.reshape(values, part.shape)
            for values, part in zip(ops.split(total, ends), parts, strict=True)
        )
        return JointStatistics(
            sums, ops.stop_gradient(counts), ops.stop_gradient(nonzero), l1, self.units
        )

    def split(self) -> list[ClassStatistics]:
        """The statistics of each activation."""
        ends = np.cumsum((0, *self.units)).tolist()
        return [
            ClassStatistics(
                self.sums[:, ends[a] : ends[a + 1]], self.counts, self.nonzero[:, a], self.l1[:, a]
            )
            for a in range(len(self.units))
        ]

    def sum_units(self, rows: Any) -> Any:
        """Sums over the units of each activation: (N, U) to (N, A)."""
        return backend.matmul(rows, membership(self.units, rows.dtype))


def membership(units: Sequence[int], dtype: Any) -> Any:
    """1 where a unit belongs to an activation: a constant (U, A).

    Products with it sum over the units of each activation in one operation. A graph of one sum for
    each would take TensorFlow longer to run than the sums themselves.
    """
    dtype = keras.backend.standardize_dtype(dtype)
    of_unit = np.repeat(np.arange(len(units)), units)
    return ops.convert_to_tensor(np.eye(len(units))[of_unit], dtype=dtype)


def class_statistics(
    activations: Any,
    labels: Any,
    num_classes: int,
    *,
    sample_weight: Any = None,
    axis: int = -1,
    non_negative: bool = False,
) -> ClassStatistics:
    """Class sums of the normalised activation vectors, and the other inputs of the objectives.

    The activation vector of a sample holds the magnitudes |u| of its units; of a map, the mean of
    |u| over its positions. An all-zero vector stays zero when normalised, and gets gradient zero.
    Differentiable; the gradient of |u| at 0 is 0.

    Args:
        activations: Float tensor of shape (B, D), or a map (B, ..., D) whose units are on `axis`;
            a `MaskedActivation` of sequences with padding.
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

    Examples:
        >>> import moda_keras as mk
        >>> statistics = mk.ops.class_statistics([[3.0, 4.0], [0.0, 0.0]], [1, 1], num_classes=2)
        >>> [[round(float(v), 1) for v in row] for row in statistics.sums]
        [[0.0, 0.0], [0.6, 0.8]]
        >>> [int(n) for n in statistics.nonzero]
        [0, 1]
    """
    ids = class_ids(labels, num_classes, sample_weight)
    observed = observations([activations], ids, [axis], [non_negative])
    return joint_statistics(observed, ids, num_classes).split()[0]


def joint_statistics(
    observed: Sequence[Observation], ids: Any, num_classes: int
) -> JointStatistics:
    """The class statistics of several activations at once.

    Args:
        observed: From `observations`.
        ids: int32 tensor (B,), from `class_ids`.
        num_classes: C, the number of classes.

    Returns:
        A `JointStatistics`.
    """
    observed = masked_as_vectors(observed)
    units = tuple(observation.units for observation in observed)
    native = backend.native_statistics(observed, ids, num_classes)
    if native is not None:
        return JointStatistics(*native, units)
    return _joint_statistics(joined_magnitudes(observed), units, ids, num_classes)


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
    check_one_label_each(ids, magnitudes)
    return _joint_statistics(magnitudes, magnitudes.shape[1:], ids, num_classes).split()[0]


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
        activations: Float tensor of shape (B, D), or a map (B, ..., D) whose units are on `axis`;
            a `MaskedActivation` of sequences with padding.
        labels: Integers of shape (B,) or (B, 1), or one-hot rows of shape (B, C).
        num_classes: C, the number of classes.
        sample_weight: Optional, shape (B,). Samples of weight 0 belong to no class.
        axis: The axis of the units.
        non_negative: Promise that no activation is negative.

    Returns:
        Float tensor of shape (C, C): entry (c, c') is the mean over pairs of a sample of class c
        and another of class c'; 0 where there is no pair.

    Examples:
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
    products = backend.matmul(statistics.sums, ops.transpose(statistics.sums))
    # A sample does not form a pair with itself: that cosine is 1, or 0 if all-zero.
    products = products - same_class * statistics.nonzero
    pairs = ops.expand_dims(counts, 1) * counts - same_class * counts
    return ops.where(pairs > 0, products / ops.maximum(pairs, 1), ops.zeros_like(products))


def _joint_statistics(
    magnitudes: Any, units: Sequence[int], ids: Any, num_classes: int
) -> JointStatistics:
    """The reference, from activation vectors (B, U)."""
    member = membership(units, magnitudes.dtype)
    normalized, nonzero = normalize(magnitudes, member)
    columns = [nonzero, ops.ones_like(nonzero[:, :1]), backend.matmul(magnitudes, member)]
    totals = sum_by_class(ops.concatenate(columns, axis=1), ids, num_classes)
    count = len(units)
    return JointStatistics(
        sums=sum_by_class(normalized, ids, num_classes),
        counts=ops.stop_gradient(totals[:, count]),
        nonzero=ops.stop_gradient(totals[:, :count]),
        l1=totals[:, count + 1 :],
        units=tuple(units),
    )


def normalize(magnitudes: Any, member: Any) -> tuple[Any, Any]:
    """Divides the activation vectors of every activation by their norms.

    Dividing by the largest element first, a constant to the gradient, keeps squares of huge and
    tiny elements finite; it cancels out of value and gradient.

    Args:
        magnitudes: Float tensor (B, U) of non-negative elements, U the units of all activations.
        member: From `membership`, (U, A).

    Returns:
        The normalised vectors (B, U), and a float tensor (B, A): 1 for each vector that is not all
        zero. An all-zero vector stays zero and gets gradient zero.
    """
    # `initial` is for batches of no sample, of which there is no largest element.
    scale = ops.stop_gradient(ops.max(magnitudes, axis=-1, keepdims=True, initial=0))
    scaled = magnitudes / ops.where(scale == 0, ops.ones_like(scale), scale)
    squares = backend.matmul(ops.square(scaled), member)
    is_zero = squares == 0
    inverse = ops.rsqrt(ops.where(is_zero, ops.ones_like(squares), squares))
    # The product with an exact zero is what stops the gradient of an all-zero vector.
    nonzero = ops.stop_gradient(1 - ops.cast(is_zero, magnitudes.dtype))
    return scaled * backend.matmul(inverse * nonzero, ops.transpose(member)), nonzero


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
    return backend.segment_sum(rows, ids, num_classes + 1)[:num_classes]
