"""Selects the units of a class's module: thresholds, and the rule for tiny modules."""

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

# A class keeps at least this fraction of the units of every activation.
MINIMUM_FRACTION = 0.005

# One for all hidden activations, or one for each by name.
Threshold = float | Mapping[str, float]


def minimum_units(units: int) -> int:
    """The number of units, of an activation with `units` units, that every module keeps."""
    return max(1, int(MINIMUM_FRACTION * units))


def frequencies(counts: np.ndarray, sample_counts: np.ndarray) -> np.ndarray:
    """The fraction of each class's samples that activate each unit.

    Args:
        counts: Int array (C, D), how many samples of a class activate a unit.
        sample_counts: Int array (C,), the samples of each class.

    Returns:
        Float64 array (C, D); 0 for a class without samples.
    """
    return counts / np.maximum(sample_counts, 1)[:, np.newaxis]


def select_units(frequency: np.ndarray, has_samples: np.ndarray, threshold: float) -> np.ndarray:
    """Membership of the units of one activation (MODA, eq. 9, and its rule for tiny modules).

    A class left with less than half a percent of the units keeps its most frequently active ones
    instead, as many as the largest module has.

    Args:
        frequency: Float array (C, D), the fraction of a class's samples that activate a unit.
        has_samples: Bool array (C,). A class without samples gets no unit.
        threshold: Float in [0, 1].

    Returns:
        Bool array (C, D).
    """
    units = (frequency >= threshold) & has_samples[:, np.newaxis]
    refill = max(int(units.sum(axis=1).max(initial=0)), minimum_units(frequency.shape[1]))
    for index in np.flatnonzero(is_refilled(frequency, threshold) & has_samples):
        most_frequent = np.argsort(-frequency[index], kind="stable")[:refill]
        units[index] = False
        units[index, most_frequent] = True
    return units


def is_refilled(frequency: np.ndarray, threshold: float) -> np.ndarray:
    """Which classes have fewer units at a threshold than every module keeps.

    Args:
        frequency: Float array (C, D).
        threshold: Float in [0, 1].

    Returns:
        Bool array (C,).
    """
    return (frequency >= threshold).sum(axis=1) < minimum_units(frequency.shape[1])


def last_unfilled_thresholds(frequency: np.ndarray) -> np.ndarray:
    """The highest threshold at which each class's module needs no refill.

    Args:
        frequency: Float array (C, D).

    Returns:
        Float array (C,).
    """
    return np.sort(frequency, axis=1)[:, -minimum_units(frequency.shape[1])]


def check_threshold(threshold: Any, activations: Sequence[str]) -> float | dict[str, float]:
    """The threshold as a float or a dict of floats; a ValueError if it is neither.

    Args:
        threshold: A number in [0, 1], or a dict from activation name to such a number.
        activations: Names of all hidden activations, each of which a dict must have.

    Returns:
        Float, or dict in the order of `activations`.
    """
    if not isinstance(threshold, Mapping):
        return _check_number("threshold", threshold)
    if set(threshold) != set(activations):
        unknown = sorted(set(threshold) - set(activations))
        missing = [name for name in activations if name not in threshold]
        raise ValueError(
            f"Expected `threshold` to be a number, or a dict with one for each of the activations "
            f"{list(activations)}. Received: a dict with the unknown names {unknown} and without "
            f"{missing}"
        )
    return {name: _check_number(f"threshold[{name!r}]", threshold[name]) for name in activations}


def _check_number(name: str, threshold: Any) -> float:
    is_number = isinstance(threshold, Real) and not isinstance(threshold, bool)
    if not is_number or not 0 <= threshold <= 1:
        raise ValueError(f"Expected `{name}` in [0, 1]. Received: {name}={threshold!r}")
    return float(threshold)
