"""Selects the units of a class's module: thresholds, and the rule for tiny modules."""

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from moda_keras.messages import listed

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


def select_modules(
    counts: Mapping[str, np.ndarray],
    sample_counts: np.ndarray,
    threshold: float | Mapping[str, float],
) -> dict[str, np.ndarray]:
    """Membership of the units of all activations.

    Args:
        counts: Dict from activation name to an int array (C, D), how many samples of a class
            activate a unit.
        sample_counts: Int array (C,), the samples of each class.
        threshold: Float, or a dict with one for each activation.

    Returns:
        Dict from activation name to a bool array (C, D).
    """
    each = threshold if isinstance(threshold, Mapping) else dict.fromkeys(counts, threshold)
    return {
        name: select_units(frequencies(values, sample_counts), sample_counts > 0, each[name])
        for name, values in counts.items()
    }


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


def label_of(threshold: Threshold | None) -> str:
    """A threshold in few characters: "0.9", "0.2-0.95" for a dict, or "none"."""
    if isinstance(threshold, Mapping):
        return f"{min(threshold.values()):.4g}-{max(threshold.values()):.4g}"
    return "none" if threshold is None else f"{threshold:.4g}"


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
        unknown = sorted(map(str, set(threshold) - set(activations)))
        missing = [name for name in activations if name not in threshold]
        raise ValueError(
            f"Expected `threshold` to be a number, or a dict with one for each of the activations "
            f"{listed(activations)}. Received: a dict with the unknown names {listed(unknown)} and "
            f"without {listed(missing)}"
        )
    return {name: _check_number(f"threshold[{name!r}]", threshold[name]) for name in activations}


def check_units(name: str, units: Any, shape: tuple[int, int]) -> np.ndarray:
    """The units of an activation as a bool array; a ValueError if they are none.

    Args:
        name: Name of the activation.
        units: The argument.
        shape: (C, D).

    Returns:
        Bool array (C, D).
    """
    array = np.asarray(units)
    if array.shape != shape or array.dtype != bool:
        raise ValueError(
            f"Expected `units[{name!r}]` to be a bool array of shape {shape}, (classes, units). "
            f"Received: an array of shape {array.shape} and dtype {array.dtype}"
        )
    return array


def complete_units(
    units: Mapping[str, Any], sizes: Mapping[str, int], classes: int
) -> dict[str, np.ndarray]:
    """The units of all activations; those left out keep all of theirs.

    Args:
        units: Dict from activation name to a bool array (C, D).
        sizes: Dict from the name of each hidden activation to D.
        classes: C.

    Returns:
        Dict from activation name to a bool array (C, D).

    Raises:
        ValueError: If a name is unknown or a shape is wrong.
    """
    unknown = sorted(set(units) - set(sizes))
    if unknown:
        raise ValueError(
            f"Unknown activation in `units`. Expected names among {listed(sizes)}. Received: "
            f"{listed(unknown)}"
        )
    return {
        name: check_units(name, units[name], (classes, size))
        if name in units
        else np.ones((classes, size), bool)
        for name, size in sizes.items()
    }


def _check_number(name: str, threshold: Any) -> float:
    is_number = isinstance(threshold, Real) and not isinstance(threshold, bool)
    if not is_number or not 0 <= threshold <= 1:
        raise ValueError(f"Expected `{name}` in [0, 1]. Received: {name}={threshold!r}")
    return float(threshold)
