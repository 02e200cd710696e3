"""Checks the masked evaluation against composed models."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from moda_keras.evaluation.accuracy import is_correct
from moda_keras.evaluation.masked_evaluator import MaskedEvaluator
from moda_keras.evaluation.samples import check_samples, predict
from moda_keras.evaluation.subtasks import Subtask
from moda_keras.modules.checks import check_modules
from moda_keras.modules.module_set import ModuleSet
from moda_keras.observing.labelled_arrays import take_samples


@dataclass(frozen=True)
class Verification:
    """A sub-task as the masked evaluation and as its composed model see it.

    Attributes:
        classes: The sub-task.
        accuracy, composed_accuracy: Accuracy by masks, and of the composed model.
        largest_difference: Largest absolute difference between logits.
        scale: Largest absolute logit of the composed model, as a reference for the difference.
    """

    classes: Subtask
    accuracy: float
    composed_accuracy: float
    largest_difference: float
    scale: float


def verify(
    modules: ModuleSet,
    subtasks: Sequence[Subtask],
    x: Any,
    y: np.ndarray,
    *,
    evaluator: MaskedEvaluator | None = None,
) -> list[Verification]:
    """Composes sub-tasks and compares the models with the masked evaluation.

    Args:
        modules: The modules.
        subtasks: The sub-tasks to compose, such as `draw_subtasks(subtasks, 20)` returns.
        x: Test inputs, as for `MaskedEvaluator.accuracy`.
        y: Labels, as for `MaskedEvaluator.accuracy`.
        evaluator: An evaluator of these modules, if it exists already.

    Returns:
        A `Verification` for each sub-task.
    """
    check_modules(modules)
    x, y = check_samples(modules, x, y)
    evaluator = evaluator or MaskedEvaluator(modules)
    accuracy = evaluator.accuracy(subtasks, x, y)
    found = evaluator.logits(subtasks, x, y)
    return [
        _compare(modules, subtask, float(figure), logits, take_samples(x, samples), y[samples])
        for subtask, figure, (samples, logits) in zip(subtasks, accuracy, found, strict=True)
    ]


def _compare(
    modules: ModuleSet, subtask: Subtask, accuracy: float, logits: np.ndarray, x: Any, y: np.ndarray
) -> Verification:
    plan = modules.plan(subtask, logits=True)
    expected = predict(modules.slicer.build(plan), x)
    return Verification(
        classes=subtask,
        accuracy=accuracy,
        composed_accuracy=float(is_correct(expected, y, subtask).mean()),
        largest_difference=float(np.abs(expected - logits).max()),
        scale=float(np.abs(expected).max()),
    )
