"""The Jaccard index of sets of units."""

from itertools import combinations

import numpy as np


def mean_jaccard(sets: np.ndarray) -> float:
    """Mean Jaccard index over pairs of rows; that of two empty rows is 1.

    Args:
        sets: Bool array (sets, elements).

    Returns:
        Float in [0, 1]; NaN if there is no pair.
    """
    pairs = list(combinations(range(len(sets)), 2))
    if not pairs:
        return float("nan")
    rows, columns = np.array(pairs).T
    return float(jaccard_indices(sets)[rows, columns].mean())


def jaccard_indices(sets: np.ndarray, others: np.ndarray | None = None) -> np.ndarray:
    """The size of the intersection of every two rows over the size of their union.

    Args:
        sets: Bool array (S, elements).
        others: Bool array (T, elements), the rows to compare with; `sets` by default.

    Returns:
        Float64 array (S, T); 1 for two empty rows.
    """
    others = sets if others is None else others
    sets, others = sets.astype("float64"), others.astype("float64")
    common = sets @ others.T
    union = sets.sum(axis=1)[:, np.newaxis] + others.sum(axis=1) - common
    return np.where(union > 0, common / np.maximum(union, 1), 1.0)
