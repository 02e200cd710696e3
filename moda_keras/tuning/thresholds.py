"""The thresholds at which modules change."""

from collections.abc import Iterable, Iterator, Mapping
from numbers import Real
from typing import Any

import numpy as np

from moda_keras.modules.checks import check_modules
from moda_keras.modules.module_set import ModuleSet
from moda_keras.modules.selection import last_unfilled_thresholds


def distinct_thresholds(modules: ModuleSet) -> np.ndarray:
    """Every threshold that gives different modules.

    A unit is in a module if its frequency is at least the threshold, so modules change only at the
    frequencies that occur: a threshold between two of them gives the modules of the higher one.

    Args:
        modules: Modules with frequencies, as `decompose` returns them.

    Returns:
        Float64 array of ascending thresholds. The first keeps every unit in every module. The last
        is the highest frequency, or 1 if that is lower, at which every module is refilled.

    Raises:
        ValueError: If `modules` is not a `ModuleSet`, or was made by `from_units`.

    Examples:
        >>> import numpy as np
        >>> import moda_keras as mk
        >>> counts = {"features": np.array([[4, 2, 0], [1, 4, 0]])}
        >>> modules = mk.ModuleSet.from_counts(None, counts, np.array([4, 4]))
        >>> mk.tuning.distinct_thresholds(modules).tolist()
        [0.0, 0.25, 0.5, 1.0]
    """
    check_modules(modules)
    modules.require_counts("distinct_thresholds")
    found = np.unique(np.concatenate([table.reshape(-1) for table in _frequencies(modules)]))
    return found if found[-1] == 1 else np.append(found, 1.0)


def nested_thresholds(modules: ModuleSet) -> Iterator[np.ndarray]:
    """The distinct thresholds, in ranges within which modules only shrink as the threshold grows.

    Raising the threshold removes units from modules, except where a module becomes so small that it
    is refilled (`select_units`). That happens once for a class and an activation. Between two such
    thresholds every module contains the module of any higher threshold.

    Args:
        modules: Modules with frequencies.

    Yields:
        Float64 arrays of descending thresholds, at least one each; together all distinct ones.
    """
    thresholds = distinct_thresholds(modules)
    lasts = [last_unfilled_thresholds(table) for table in _frequencies(modules)]
    starts = np.searchsorted(thresholds, np.unique(np.concatenate(lasts)), side="right")
    for part in np.split(thresholds, np.unique(starts)):
        if len(part):
            yield part[::-1]


def check_thresholds(thresholds: Any, kinds: tuple[type, ...] = (Real,)) -> list[Any]:
    """The thresholds as a list. `with_threshold` checks their range.

    Args:
        thresholds: The argument of that name.
        kinds: Types that a threshold may have: a number, or a mapping from activation names.

    Returns:
        List.

    Raises:
        ValueError: If it is not a list of these types.
    """
    is_list = isinstance(thresholds, Iterable) and not isinstance(thresholds, (str, Mapping))
    found = list(thresholds) if is_list else []
    if not is_list or not all(isinstance(each, kinds) for each in found):
        raise ValueError(
            "Expected `thresholds` to be a list of numbers in [0, 1], such as [0.5, 0.8]. "
            f"Received: thresholds={found or thresholds!r}"
        )
    return found


def _frequencies(modules: ModuleSet) -> list[np.ndarray]:
    """Per activation the frequencies of the classes that have modules."""
    present = modules.classes_with_modules()
    return [table[present] for table in modules.frequency.values()]


def require_modules_of_a_threshold(modules: Any, what: str) -> None:
    """Raises a ValueError for modules of chosen units, which a threshold would throw away."""
    if isinstance(modules, ModuleSet) and modules.threshold is None and modules.activation_counts:
        raise ValueError(
            f"`{what}` chooses units by a threshold. Received: modules whose units were chosen "
            "otherwise, as by `within`, a choice that it would throw away. Give it the modules of "
            "`decompose`, or use `within(max_accuracy_loss=...)`"
        )
