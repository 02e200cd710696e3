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


def jaccard_indices(sets: np.ndarray) -> np.ndarray:
    """The size of the intersection of every two rows over the size of their union.

    Args:
        sets: Bool array (S, elements).

    Returns:
        Float64 array (S, S); 1 for two empty rows.
    """
    sets = sets.astype("float64")
    common, sizes = sets @ sets.T, sets.sum(axis=1)
    union = sizes[:, np.newaxis] + sizes - common
    return np.where(union > 0, common / np.maximum(union, 1), 1.0)
