"""Validates tables of counts by class."""

import math
from collections.abc import Container, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from moda_keras.messages import listed, shortened
from moda_keras.slicing import Slicer

# Float64 holds every whole number up to here.
MOST = 2**53


@dataclass(frozen=True)
class CountTables:
    """What `ModuleSet.from_counts` is given, in the types that it keeps.

    Attributes:
        counts: Dict from activation name to an int64 array (C, D).
        sample_counts: Int64 array (C,).
        importance: Dict from activation name to a float64 array (C, D), or None.
        epsilons: Dict from activation name to a float, or None.
    """

    counts: dict[str, np.ndarray]
    sample_counts: np.ndarray
    importance: dict[str, np.ndarray] | None
    epsilons: dict[str, float] | None


def check_count_tables(
    slicer: Slicer | None,
    activation_counts: Any,
    sample_counts: Any,
    *,
    importance: Any = None,
    epsilons: Any = None,
) -> CountTables:
    """The arguments of `ModuleSet.from_counts`, checked against each other and the model.

    Args:
        slicer: That of the model; None for counts without one.
        activation_counts: As of `ModuleSet.from_counts`.
        sample_counts: Likewise.
        importance: Likewise.
        epsilons: Likewise.

    Returns:
        A `CountTables`.

    Raises:
        ValueError: If counts are not whole numbers from 0 to the samples of their class,
            importances or epsilons are not finite numbers >= 0, or tables are not those of the
            model's hidden activations.
    """
    counts, samples = check_counts(activation_counts, sample_counts)
    sizes = {name: table.shape[1] for name, table in counts.items()}
    if slicer is not None:
        sizes, classes = slicer.units, slicer.model.outputs[0].shape[-1]
        check_tables("activation_counts", counts, sizes, classes)
    if importance is not None:
        importance = check_importance(importance)
        check_tables("importance", importance, sizes, len(samples))
    if epsilons is not None:
        epsilons = check_epsilons(epsilons, sizes)
    return CountTables(counts, samples, importance, epsilons)


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
            f"sample_counts={listed(samples.ravel().tolist())}"
        )
    counts = {}
    for name, table in activation_counts.items():
        counts[name] = _whole_numbers(f"activation_counts[{name!r}]", table)
        _check_table(name, counts[name], samples)
    return counts, samples


def check_tables(name: str, tables: Any, sizes: Mapping[str, int], classes: int) -> None:
    """Raises a ValueError unless tables are those of a model's hidden activations.

    Args:
        name: Name of the argument.
        tables: Dict from activation name to an array (C, D).
        sizes: Dict from the name of each hidden activation of the model to D.
        classes: C, the outputs of the model.
    """
    require_tables(name, tables)
    for key in (*sizes, *tables):
        expected = (classes, sizes[key]) if key in sizes else None
        received = np.shape(tables[key]) if key in tables else None
        if expected != received:
            raise ValueError(
                f"Expected `{name}` to have one table for each of the model's hidden activations "
                f"{listed(sizes)}, of shape (classes, units) with {classes} classes. Received: "
                f"{_described(received)} for {shortened(repr(key), 100)}"
                + (f" instead of shape {expected}" if expected else ", which is none of them")
            )


def check_importance(importance: Any) -> dict[str, np.ndarray]:
    """Importances as float64 arrays.

    Args:
        importance: Dict from activation name to an array (C, D).

    Returns:
        Dict of float64 arrays.

    Raises:
        ValueError: If one is no finite number of at least 0.
    """
    require_tables("importance", importance)
    checked = {}
    for name, table in importance.items():
        array = np.asarray(table)
        is_number = array.dtype.kind in "biuf"
        if not is_number or not np.isfinite(array).all() or (array < 0).any():
            raise ValueError(
                f"Expected `importance[{name!r}]` to hold finite numbers >= 0. Received: an array "
                f"of dtype {array.dtype}" + (", with others" if is_number else "")
            )
        checked[name] = array.astype("float64")
    return checked


def check_epsilons(epsilons: Any, activations: Container[str]) -> dict[str, float]:
    """Epsilons as a dict of floats.

    Args:
        epsilons: Dict from activation name to a number.
        activations: Names of all hidden activations.

    Returns:
        Dict.

    Raises:
        ValueError: If a name is unknown, or a number is not finite and at least 0.
    """
    is_dict = isinstance(epsilons, Mapping)
    wrong = [
        name
        for name, value in (epsilons.items() if is_dict else ())
        if name not in activations or not _is_finite(value) or value < 0
    ]
    if not is_dict or wrong:
        received = f"others for {listed(wrong)}" if is_dict else shortened(repr(epsilons), 100)
        raise ValueError(
            "Expected `epsilons` to be a dict from names of hidden activations to finite numbers "
            f">= 0. Received: {received}"
        )
    return {name: float(value) for name, value in epsilons.items()}


def require_tables(name: str, tables: Any) -> None:
    """Raises a ValueError unless an argument is a dict from names of activations.

    Args:
        name: Name of the argument.
        tables: Its value.
    """
    if not isinstance(tables, Mapping) or not all(isinstance(key, str) for key in tables):
        raise ValueError(
            f"Expected `{name}` to be a dict from names of hidden activations to arrays. Received: "
            f"{name}={shortened(repr(tables), 300)}"
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
    is_float = array.dtype.kind == "f"
    if not is_number or (is_float and not np.array_equal(array, np.floor(array))):
        raise ValueError(
            f"Expected `{name}` to hold whole numbers. Received: an array of dtype {array.dtype}"
            + (", with fractions" if is_number else "")
        )
    # Larger ones wrap around.
    if array.size and (array.max() > MOST or array.min() < -MOST):
        raise ValueError(
            f"Expected `{name}` to hold whole numbers up to {MOST}. Received: larger ones"
        )
    return array.astype("int64")


def _is_finite(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _described(shape: tuple[int, ...] | None) -> str:
    return "none" if shape is None else f"a table of shape {shape}"
