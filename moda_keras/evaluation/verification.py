"""Sub-tasks composed for real, to check the masked evaluation by."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from moda_keras.evaluation.masked_evaluator import MaskedEvaluator
from moda_keras.evaluation.subtasks import Subtask
from moda_keras.modules.module_set import ModuleSet


@dataclass(frozen=True)
class Verification:
    """A sub-task's figures by masks, and as composed.

    Attributes:
        classes: The sub-task.
        accuracy, composed_accuracy: Accuracy by masks, and of the composed model.
        largest_difference: Largest absolute difference between logits.
        scale: Largest absolute logit of the composed model, to see the difference by.
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
    """Composes sub-tasks for real and compares them with the masked evaluation.

    Args:
        modules: The modules.
        subtasks: The sub-tasks to compose, such as `draw_subtasks(subtasks, 20)` gives.
        x: Test inputs, an array of N samples.
        y: Labels, integers (N,).
        evaluator: An evaluator of these modules, if one is at hand.

    Returns:
        A `Verification` for each sub-task.
    """
    evaluator = evaluator or MaskedEvaluator(modules)
    accuracy = evaluator.accuracy(subtasks, x, y)
    found = evaluator.logits(subtasks, x, y)
    return [
        _compare(modules, subtask, float(figure), logits, x[samples], np.asarray(y)[samples])
        for subtask, figure, (samples, logits) in zip(subtasks, accuracy, found, strict=True)
    ]


def _compare(
    modules: ModuleSet, subtask: Subtask, accuracy: float, logits: np.ndarray, x: Any, y: np.ndarray
) -> Verification:
    indices = np.array(subtask)
    plan = modules.plan(subtask, logits=True)
    expected = modules.slicer.build(plan).predict(x, batch_size=256, verbose=0)
    right = indices[expected.argmax(axis=-1)] == y.reshape(-1)
    return Verification(
        classes=subtask,
        accuracy=accuracy,
        composed_accuracy=float(right.mean()),
        largest_difference=float(np.abs(expected - logits).max()),
        scale=float(np.abs(expected).max()),
    )
