"""The thresholds at which modules change: there are no others to look at."""

from collections.abc import Iterator

import numpy as np

from moda_keras.modules.checks import check_modules
from moda_keras.modules.module_set import ModuleSet
from moda_keras.modules.selection import last_unfilled_thresholds


def distinct_thresholds(modules: ModuleSet) -> np.ndarray:
    """Every threshold that gives modules of its own.

    A unit is in a module if its frequency is at least the threshold, so modules change only at the
    frequencies that occur: a threshold between two of them gives the modules of the higher one.

    Args:
        modules: Modules with frequencies, as `decompose` finds them.

    Returns:
        Float64 array of ascending thresholds. The first keeps every unit in every module, the last
        is the highest frequency, or 1 if that is lower: then every module is refilled.

    Raises:
        ValueError: If it is no module set, or one that `from_units` made.

    Example:
        >>> import numpy as np
        >>> import moda_keras as mk
        >>> counts = {"features": np.array([[4, 2, 0], [1, 4, 0]])}
        >>> modules = mk.ModuleSet.from_counts(None, counts, np.array([4, 4]))
        >>> mk.tuning.distinct_thresholds(modules).tolist()
        [0.0, 0.25, 0.5, 1.0]
    """
    check_modules(modules)
    modules.require_counts("distinct_thresholds")
    present = modules.classes_with_modules()
    frequencies = [table[present].reshape(-1) for table in modules.frequency.values()]
    found = np.unique(np.concatenate(frequencies))
    return found if found[-1] == 1 else np.append(found, 1.0)


def nested_thresholds(modules: ModuleSet) -> Iterator[np.ndarray]:
    """The distinct thresholds in ranges within which modules only shrink as the threshold grows.

    Raising the threshold takes units out of modules, but where a module becomes so tiny that it is
    refilled (`select_units`). That happens once for a class and an activation; between two such
    thresholds every module contains that of any higher one.

    Args:
        modules: Modules with frequencies.

    Yields:
        Float64 arrays of descending thresholds, at least one each: together all distinct ones.
    """
    thresholds = distinct_thresholds(modules)
    present = _present_frequencies(modules)
    lasts = np.unique(np.concatenate(list(map(last_unfilled_thresholds, present))))
    starts = np.searchsorted(thresholds, lasts, side="right")
    for part in np.split(thresholds, np.unique(starts)):
        if len(part):
            yield part[::-1]


def _present_frequencies(modules: ModuleSet) -> list[np.ndarray]:
    present = modules.classes_with_modules()
    return [table[present] for table in modules.frequency.values()]
