"""Validates tables of counts by class."""

from collections.abc import Mapping
from typing import Any

import numpy as np


def check_counts(
    activation_counts: Any, sample_counts: Any
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Counts of active samples, and of samples, as int64 arrays.

    Args:
        activation_counts: Dict from activation name to an int array (C, D): how many samples of
            each class activate each unit.
        sample_counts: Int array (C,), the samples of each class.

    Returns:
        The dict, and the array (C,).

    Raises:
        ValueError: If a shape is wrong, or a count is not a whole number from 0 to the samples of
            its class.
    """
    require_tables("activation_counts", activation_counts)
    samples = _whole_numbers("sample_counts", sample_counts)
    if samples.ndim != 1 or (samples < 0).any():
        raise ValueError(
            "Expected `sample_counts` of shape (classes,), with numbers >= 0. Received: "
            f"sample_counts={samples.tolist()}"
        )
    counts = {}
    for name, table in activation_counts.items():
        counts[name] = _whole_numbers(f"activation_counts[{name!r}]", table)
        _check_table(name, counts[name], samples)
    return counts, samples


def require_tables(name: str, tables: Any) -> None:
    """Raises a ValueError unless an argument is a dict from names of activations.

    Args:
        name: Name of the argument.
        tables: Its value.
    """
    if not isinstance(tables, Mapping) or not all(isinstance(key, str) for key in tables):
        raise ValueError(
            f"Expected `{name}` to be a dict from names of hidden activations to arrays. Received: "
            f"{name}={tables!r}"
        )


def _check_table(name: str, counts: np.ndarray, samples: np.ndarray) -> None:
    if counts.ndim != 2 or len(counts) != len(samples):
        raise ValueError(
            f"Expected `activation_counts[{name!r}]` of shape (classes, units) with "
            f"{len(samples)} classes, as many as `sample_counts` has. Received: an array of shape "
            f"{counts.shape}"
        )
    # Of a class without samples, counts do not matter.
    most = np.where(samples > 0, samples, counts.max(axis=1, initial=0))
    wrong = (counts < 0) | (counts > most[:, np.newaxis])
    if wrong.any():
        row = int(np.flatnonzero(wrong.any(axis=1))[0])
        raise ValueError(
            f"Expected `activation_counts[{name!r}]` to hold how many samples of a class activate "
            f"a unit: from 0 to {most[row]} for class {row}. Received: "
            f"{counts[row][wrong[row]][0]}"
        )


def _whole_numbers(name: str, values: Any) -> np.ndarray:
    array = np.asarray(values)
    is_number = array.dtype.kind in "biuf"
    if not is_number or not np.array_equal(array, np.floor(array)):
        raise ValueError(
            f"Expected `{name}` to hold whole numbers. Received: an array of dtype {array.dtype}"
            + (", with fractions" if is_number else "")
        )
    return array.astype("int64")
