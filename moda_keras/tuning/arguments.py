"""What `threshold_curve` and `tune_threshold` take: checks, and what is measured by default."""

from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np

from moda_keras.evaluation.subtasks import Subtask
from moda_keras.modules.checks import check_modules
from moda_keras.modules.module_set import ModuleSet
from moda_keras.observing.labelled_arrays import check_labelled_arrays
from moda_keras.tuning.reuse_loss import STATISTICS, ReuseLoss
from moda_keras.tuning.subtask_sample import sample_subtasks


def measure_loss(
    modules: ModuleSet,
    x: Any,
    y: Any,
    *,
    subtasks: Iterable[Sequence[int | str]] | None,
    statistic: str,
    batch_size: int,
    seed: int,
) -> ReuseLoss:
    """The `ReuseLoss` of checked arguments; a ValueError says what is wrong with them."""
    check_modules(modules)
    modules.require_counts("Choosing a threshold")
    if statistic not in STATISTICS:
        raise ValueError(
            f"Expected `statistic` to be one of {list(STATISTICS)}. Received: "
            f"statistic={statistic!r}"
        )
    x, y = check_labelled_arrays(x, y, modules.num_classes)
    if subtasks is None:
        chosen = sample_subtasks(modules.classes_with_modules(), seed=seed)
    else:
        chosen = _check_subtasks(subtasks, modules)
    _require_samples(chosen, y, modules)
    return ReuseLoss(modules, x, y, chosen, statistic=statistic, batch_size=batch_size, seed=seed)


def check_thresholds(thresholds: Any, kinds: tuple[type, ...] = (Real,)) -> list[Any]:
    """The thresholds as a list; a ValueError if they are none. Their range is checked later.

    Args:
        thresholds: What was given for thresholds.
        kinds: What each may be: a number, or a mapping of one for each hidden activation.

    Returns:
        List.
    """
    is_list = isinstance(thresholds, Iterable) and not isinstance(thresholds, (str, Mapping))
    found = list(thresholds) if is_list else []
    if not is_list or not all(isinstance(each, kinds) for each in found):
        raise ValueError(
            "Expected `thresholds` to be a list of numbers in [0, 1], as [0.5, 0.8]. Received: "
            f"thresholds={found or thresholds!r}"
        )
    return found


def _check_subtasks(subtasks: Iterable[Sequence[int | str]], modules: ModuleSet) -> list[Subtask]:
    is_list = isinstance(subtasks, Iterable) and not isinstance(subtasks, str)
    subtasks = list(subtasks) if is_list else subtasks
    if not is_list or any(isinstance(each, (str, Integral)) for each in subtasks):
        raise ValueError(
            "Expected `subtasks` to be a list of lists of classes, as [(0, 1), (0, 2, 3)]. "
            f"Received: subtasks={subtasks!r}"
        )
    found = [tuple(sorted(modules.resolve_classes(each).tolist())) for each in subtasks]
    if not found or min(map(len, found)) < 2:
        raise ValueError(
            "Expected `subtasks` to be tuples of at least two classes, at least one of them. "
            f"Received: subtasks={found}"
        )
    return found


def _require_samples(subtasks: list[Subtask], y: np.ndarray, modules: ModuleSet) -> None:
    wanted = sorted({index for subtask in subtasks for index in subtask})
    missing = [modules.class_names[index] for index in wanted if not (y == index).any()]
    if missing:
        raise ValueError(
            "Expected validation samples of every class of the sub-tasks. Received: none of the "
            f"classes {missing}. Pass samples of them, or `subtasks` without them"
        )


def check_max_loss(max_accuracy_loss: Any) -> float:
    """The loss as a float; a ValueError if it is no number in [0, 1)."""
    is_number = isinstance(max_accuracy_loss, Real) and not isinstance(max_accuracy_loss, bool)
    if not is_number or not 0 <= max_accuracy_loss < 1:
        raise ValueError(
            "Expected `max_accuracy_loss` in [0, 1), a fraction: 0.01 is one point. Received: "
            f"max_accuracy_loss={max_accuracy_loss!r}"
        )
    return float(max_accuracy_loss)
