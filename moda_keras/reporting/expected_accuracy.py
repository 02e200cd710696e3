"""The expected accuracy of compositions that were not measured."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import keras
import numpy as np

from moda_keras.evaluation import MaskedEvaluator, why_not_staged
from moda_keras.evaluation.logits import predict_logits
from moda_keras.evaluation.masked_evaluator import beaten_by
from moda_keras.evaluation.samples import predict
from moda_keras.modules.module_set import ModuleSet
from moda_keras.observing.labelled_arrays import take_samples
from moda_keras.reporting.outcomes import Outcomes

# All pairs are measured for up to this many classes (190 pairs).
PAIRED_CLASSES = 20


@dataclass(frozen=True)
class ExpectedAccuracy:
    """Estimates the accuracy of any composition from pairs and from all classes together.

    The model composed of all classes shows which classes are confused, but it has more units than a
    model of a few classes; the models of pairs have fewer. For k of C classes the estimate
    interpolates between the two at log(k / 2) / log(C / 2), so it is exact for pairs and for all
    classes.

    Attributes:
        classes: Indices of the classes that have modules.
        full: Outcomes of the full model.
        together: Outcomes of the model composed of all classes.
        pairs: Outcomes of the models composed of two classes: another class is preferred if the
            model of it and the sample's class prefers it. None if they were not measured; the
            estimate is then the accuracy of the model of all classes.
        measured: Accuracy of composed models, by ascending tuple of class indices.
    """

    classes: tuple[int, ...]
    full: Outcomes
    together: Outcomes
    pairs: Outcomes | None
    measured: Mapping[tuple[int, ...], float]

    def estimate(self, classes: Sequence[int]) -> float:
        """Estimates the accuracy of a composition of at least two classes.

        Args:
            classes: Class indices.

        Returns:
            Float in [0, 1]; NaN without test samples of them.
        """
        together = self.together.accuracy(classes)
        if self.pairs is None:
            return together
        share = self.share(len(set(classes)))
        return share * together + (1 - share) * self.pairs.accuracy(classes)

    def share(self, k: int) -> float:
        """The weight of all classes together, against pairs, for k classes."""
        everyone = len(self.classes)
        return math.log(k / 2) / math.log(everyone / 2) if everyone > 2 else 1.0

    @property
    def errors(self) -> list[float]:
        """Absolute errors on the measured compositions for which the estimate is not exact.

        Compositions without test samples have no estimate and are left out.
        """
        known = {2, len(self.classes)} if self.pairs else {len(self.classes)}
        errors = [
            abs(self.estimate(subtask) - accuracy)
            for subtask, accuracy in self.measured.items()
            if len(subtask) > 1 and len(subtask) not in known
        ]
        return [error for error in errors if math.isfinite(error)]


def expect_accuracy(
    modules: ModuleSet, x: Any, y: np.ndarray, subtask_rows: Sequence[Mapping[str, Any]]
) -> ExpectedAccuracy:
    """Measures the outcomes that estimates need.

    Args:
        modules: The modules.
        x: Test inputs, an array of N samples, or a list or dict of arrays.
        y: Labels, integers (N,).
        subtask_rows: Measured sub-tasks, for the error of the estimate.

    Returns:
        An `ExpectedAccuracy`.
    """
    present = modules.classes_with_modules()
    evaluator = None if why_not_staged(modules) else MaskedEvaluator(modules)
    logits = predict_logits(modules.model, x)
    can_pair = evaluator is not None and 2 <= len(present) <= PAIRED_CLASSES
    return ExpectedAccuracy(
        classes=tuple(present.tolist()),
        full=Outcomes.from_table(y, beaten_by(logits, y)),
        together=_together(modules, evaluator, x, y),
        pairs=_pairs(evaluator, present, x, y) if can_pair else None,
        measured={tuple(sorted(row["classes"])): row["accuracy"] for row in subtask_rows},
    )


def _together(
    modules: ModuleSet, evaluator: MaskedEvaluator | None, x: Any, y: np.ndarray
) -> Outcomes:
    present = modules.classes_with_modules()
    rows = np.flatnonzero(np.isin(y, present))
    if not len(rows):
        return Outcomes({})
    if evaluator is None:
        plan = modules.plan(present, logits=True)
        model: keras.Model = modules.slicer.build(plan)
        logits = predict(model, take_samples(x, rows))
    else:
        ((rows, logits),) = evaluator.logits([tuple(present.tolist())], x, y)
    preferred = np.zeros((len(rows), modules.num_classes), bool)
    preferred[:, present] = beaten_by(logits, np.searchsorted(present, y[rows]))
    return Outcomes.from_table(y[rows], preferred)


def _pairs(evaluator: MaskedEvaluator, present: np.ndarray, x: Any, y: np.ndarray) -> Outcomes:
    """For every sample, the classes that are preferred in a pair with its own."""
    preferred = np.zeros((len(y), evaluator.modules.num_classes), bool)
    pairs = [pair for pair in combinations(present.tolist(), 2) if np.isin(pair, y).any()]
    for pair, (rows, logits) in zip(pairs, evaluator.logits(pairs, x, y), strict=True):
        own = (y[rows] == pair[1]).astype(int)
        is_lost = beaten_by(logits, own)[np.arange(len(rows)), 1 - own]
        preferred[rows, np.array(pair)[1 - own]] = is_lost
    kept = np.isin(y, present)
    return Outcomes.from_table(y[kept], preferred[kept])
