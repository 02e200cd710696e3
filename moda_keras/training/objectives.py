"""The objectives of MODA: affinity, dispersion and compactness of hidden activations.

Source: MODA, "Activation-driven modular training" (ICSE 2026), equations 3, 5 and 6, over class
sums instead of pairs of samples.
"""

from typing import Any

from keras import ops

from moda_keras.ops import JointStatistics
from moda_keras.ops.backends import backend


def affinity(statistics: JointStatistics, averaging: str = "class") -> Any:
    """One minus the mean cosine similarity of two samples of the same class (eq. 3).

    Args:
        statistics: Class statistics of A activations.
        averaging: "class": mean over classes with two samples or more of the class's mean over
            pairs. "pair": mean over all such pairs.

    Returns:
        Float (A,); 0 with zero gradient if no class has two samples.
    """
    counts = statistics.counts
    similarity = (_squared_norms(statistics) - statistics.nonzero) / 2
    pairs = counts * (counts - 1) / 2
    has_pair = ops.cast(pairs > 0, counts.dtype)
    if averaging == "pair":
        weights = has_pair / ops.maximum(ops.sum(pairs), 1)
    else:
        weights = has_pair / ops.maximum(pairs, 1) / ops.maximum(ops.sum(has_pair), 1)
    return ops.max(has_pair) - _weighted_sum(weights, similarity)


def dispersion(statistics: JointStatistics, averaging: str = "class") -> Any:
    """Mean cosine similarity of two samples of different classes (eq. 5).

    Args:
        statistics: Class statistics of A activations.
        averaging: "class": mean over pairs of classes, both present, of their mean over pairs of
            samples. "pair": mean over all pairs of samples of different classes.

    Returns:
        Float (A,); 0 with zero gradient if fewer than two classes are present.
    """
    counts = statistics.counts
    present = ops.cast(counts > 0, counts.dtype)
    # The weights of each class sum and of each pair of different classes.
    shares = present if averaging == "pair" else present / ops.maximum(counts, 1)
    weights = counts if averaging == "pair" else present
    total = backend.matmul(ops.expand_dims(shares, 0), statistics.sums)
    squares = statistics.sum_units(ops.square(total))[0]
    between = (squares - _weighted_sum(ops.square(shares), _squared_norms(statistics))) / 2
    pairs = (ops.square(ops.sum(weights)) - ops.sum(ops.square(weights))) / 2
    return between * ops.cast(pairs > 0, counts.dtype) / ops.maximum(pairs, 1)


def compactness(statistics: JointStatistics, averaging: str = "class", form: str = "unit") -> Any:
    """Mean L1 norm of the activation vectors (eq. 6), divided by the number of units.

    Args:
        statistics: Class statistics of A activations.
        averaging: "class": mean over present classes of the class's mean. "pair": mean over
            samples.
        form: "unit": divided by the number of units. "norm": the bare norm, as eq. 6 prints it.

    Returns:
        Float (A,); 0 with zero gradient for an empty batch.
    """
    counts = statistics.counts
    present = ops.cast(counts > 0, counts.dtype)
    if averaging == "pair":
        weights = present / ops.maximum(ops.sum(counts), 1)
    else:
        weights = present / ops.maximum(counts, 1) / ops.maximum(ops.sum(present), 1)
    mean = _weighted_sum(weights, statistics.l1)
    if form == "norm":
        return mean
    return mean / ops.convert_to_tensor(statistics.units, dtype=mean.dtype)


def _weighted_sum(weights: Any, rows: Any) -> Any:
    """The sum of the rows (C, A) by weights (C,)."""
    return backend.matmul(ops.expand_dims(weights, 0), rows)[0]


def _squared_norms(statistics: JointStatistics) -> Any:
    """The squared norm of each class sum, (C, A)."""
    return statistics.sum_units(ops.square(statistics.sums))
