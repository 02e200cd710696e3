"""The objectives of MODA: affinity, dispersion and compactness of one hidden activation.

Source: MODA, "Activation-driven modular training" (ICSE 2026), equations 3, 5 and 6, over class
sums instead of pairs of samples.
"""

from typing import Any

from keras import ops

from moda_keras.ops import ClassStatistics


def affinity(statistics: ClassStatistics, averaging: str = "class") -> Any:
    """One minus the mean cosine similarity of two samples of the same class (eq. 3).

    Args:
        statistics: Class statistics of one activation.
        averaging: "class": mean over classes with two samples or more of the class's mean over
            pairs. "pair": mean over all such pairs.

    Returns:
        Float scalar; 0 with zero gradient if no class has two samples.
    """
    counts = statistics.counts
    similarity = (_squared_norms(statistics.sums) - statistics.nonzero) / 2
    pairs = counts * (counts - 1) / 2
    if averaging == "pair":
        mean = _safe_divide(ops.sum(similarity), ops.sum(pairs))
    else:
        has_pair = ops.cast(pairs > 0, counts.dtype)
        mean = _safe_divide(ops.sum(_safe_divide(similarity, pairs)), ops.sum(has_pair))
    return ops.where(ops.any(pairs > 0), 1 - mean, ops.zeros_like(mean))


def dispersion(statistics: ClassStatistics, averaging: str = "class") -> Any:
    """Mean cosine similarity of two samples of different classes (eq. 5).

    Args:
        statistics: Class statistics of one activation.
        averaging: "class": mean over pairs of classes, both present, of their mean over pairs of
            samples. "pair": mean over all pairs of samples of different classes.

    Returns:
        Float scalar; 0 with zero gradient if fewer than two classes are present.
    """
    counts = statistics.counts
    if averaging == "pair":
        sums, weights = statistics.sums, counts
    else:
        sums = _safe_divide(statistics.sums, ops.expand_dims(counts, 1))
        weights = ops.cast(counts > 0, counts.dtype)
    between = _sum_over_pairs(sums)
    pairs = (ops.square(ops.sum(weights)) - ops.sum(ops.square(weights))) / 2
    return _safe_divide(between, pairs)


def compactness(statistics: ClassStatistics, averaging: str = "class", form: str = "unit") -> Any:
    """Mean L1 norm of the activation vectors (eq. 6), divided by the number of units.

    Args:
        statistics: Class statistics of one activation.
        averaging: "class": mean over present classes of the class's mean. "pair": mean over
            samples.
        form: "unit": divided by the number of units. "norm": the bare norm, as eq. 6 prints it.

    Returns:
        Float scalar; 0 with zero gradient for an empty batch.
    """
    counts, l1 = statistics.counts, statistics.l1
    if averaging == "pair":
        mean = _safe_divide(ops.sum(l1), ops.sum(counts))
    else:
        present = ops.cast(counts > 0, counts.dtype)
        mean = _safe_divide(ops.sum(_safe_divide(l1, counts)), ops.sum(present))
    return mean / statistics.sums.shape[-1] if form == "unit" else mean


def _squared_norms(rows: Any) -> Any:
    return ops.sum(ops.square(rows), axis=-1)


def _sum_over_pairs(rows: Any) -> Any:
    """Sum of the dot products of all pairs of distinct rows."""
    return (_squared_norms(ops.sum(rows, axis=0)) - ops.sum(ops.square(rows))) / 2


def _safe_divide(numerator: Any, denominator: Any) -> Any:
    """The quotient, and 0 with zero gradient where the denominator is 0."""
    valid = denominator > 0
    quotient = numerator / ops.where(valid, denominator, ops.ones_like(denominator))
    return ops.where(valid, quotient, ops.zeros_like(quotient))
