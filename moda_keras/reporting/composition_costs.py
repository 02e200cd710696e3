"""Parameters and multiply-accumulates of the models that can be composed: planned, or estimated."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from moda_keras.evaluation import planned_flops
from moda_keras.evaluation.subtasks import ALL_SUBSETS, Subtask
from moda_keras.modules.module_set import ModuleSet
from moda_keras.slicing.plan import Plan
from moda_keras.tuning import sample_subtasks

# Steps of the graph that are planned at most, over all sub-tasks of one kind: about a minute.
# All subsets of 10 classes of ResNet50 take 195,000; those of DenseNet121 would take 438,000.
MAX_PLANNED_STEPS = 250_000
# Bounds the share that a base set lacks, so that its logarithm is finite and not zero.
MIN_SHARE = 1e-3

Cost = tuple[int, int]


@dataclass(frozen=True)
class CompositionCosts:
    """Parameters and multiply-accumulates of composed models.

    Attributes:
        parameters, flops: Of the original; `flops` is 0 if its input shape is not fixed.
        classes: Indices of the classes that have modules.
        known: Exact parameters and multiply-accumulates by ascending tuple of class indices.
        base: 0 if every composition is known. Otherwise estimates start from the known costs of
            single classes (1) or of pairs (2).
        powers: Rows of a number of classes k and the powers for parameters and multiply-accumulates
            (see `estimate`), by ascending k.
        errors: Largest absolute error of each checked estimate, as a share of the original.
    """

    parameters: int
    flops: int
    classes: Subtask
    known: Mapping[Subtask, Cost]
    base: int = 0
    powers: tuple[tuple[int, float, float], ...] = ()
    errors: tuple[float, ...] = ()

    def estimate(self, classes: Sequence[int]) -> tuple[float, float]:
        """Estimated parameters and multiply-accumulates of a composition that is not known.

        Of what the model of all classes has, single modules or pairs lack a share on average. The
        estimate is that this share shrinks to a power of itself that depends only on the number of
        classes and was measured. It is at least the largest of the single modules or pairs.

        Args:
            classes: Indices of at least two classes.

        Returns:
            Two floats.
        """
        bases = np.array([self.known[each] for each in _subsets(classes, self.base)], float)
        total = np.array(self.known[self.classes], float)
        k, *powers = np.transpose(self.powers)
        power = [np.interp(math.log(len(classes)), np.log(k), each) for each in powers]
        lacking = np.maximum(0, 1 - bases.mean(axis=0) / np.maximum(total, 1)) ** power
        estimate = np.clip(total * (1 - lacking), bases.max(axis=0), None)
        return tuple(np.minimum(estimate, total).tolist())

    def to_json(self) -> dict[str, Any]:
        """What the page's script needs; keys of `known` are class indices joined by commas."""
        return {
            "parameters": self.parameters,
            "flops": self.flops,
            "everyone": _key(self.classes),
            "known": {_key(classes): list(cost) for classes, cost in self.known.items()},
            "base": self.base,
            "powers": [list(row) for row in self.powers],
        }


def composition_costs(
    modules: ModuleSet, rows: Sequence[Mapping[str, Any]] = (), *, seed: int = 0
) -> CompositionCosts:
    """Plans all compositions of up to ten classes; of more classes some, for estimates.

    Args:
        modules: The modules.
        rows: Measured sub-tasks, as `SubtaskMeasurement.measure` gives; their `size` and `flops`
            are taken over.
        seed: Seed of the sub-tasks that are drawn.

    Returns:
        `CompositionCosts`. All subsets are planned for up to 10 classes, unless that takes more
        than `MAX_PLANNED_STEPS`. Otherwise single classes, pairs if they do not take more than
        that, and two samples of sub-tasks: one for the estimate, one to check it.

    Examples:
        >>> import keras
        >>> import numpy as np
        >>> import moda_keras as mk
        >>> from moda_keras.reporting.composition_costs import composition_costs
        >>> model = keras.Sequential([
        ...     keras.Input((2,)),
        ...     keras.layers.Dense(6, activation="relu", name="features"),
        ...     keras.layers.Dense(3),
        ... ])
        >>> units = {"features": np.repeat(np.eye(3, dtype=bool), 2, axis=1)}
        >>> composition_costs(mk.ModuleSet.from_units(model, units)).known[0, 2]
        (22, 16)
    """
    classes = tuple(modules.classes_with_modules().tolist())
    number, steps = len(classes), len(modules.slicer.graph.steps)
    original = _cost(modules.slicer.plan({}, np.arange(modules.num_classes)))
    if number <= ALL_SUBSETS and steps * 2**number <= MAX_PLANNED_STEPS:
        subsets = [each for k in range(1, number + 1) for each in _subsets(classes, k)]
        return CompositionCosts(*original, classes, _plan_all(modules, subsets))
    base = 2 if steps * math.comb(number, 2) <= MAX_PLANNED_STEPS else 1
    sample, check = (sample_subtasks(classes, seed=each) for each in (seed, seed + 1))
    bases = [each for k in range(1, base + 1) for each in _subsets(classes, k)]
    known = _plan_all(modules, [*bases, *sample, *check])
    powers = _powers(known, classes, base, sample)
    costs = CompositionCosts(*original, classes, known, base, powers)
    errors = [_error(costs, each) for each in check if base < len(each) < number]
    known = known | _measured(rows, original)
    return CompositionCosts(*original, classes, known, base, powers, tuple(errors))


def _subsets(classes: Sequence[int], size: int) -> list[Subtask]:
    return list(itertools.combinations(sorted(classes), size))


def _key(classes: Sequence[int]) -> str:
    return ",".join(map(str, classes))


def _cost(plan: Plan) -> Cost:
    try:
        return plan.trainable_size, planned_flops(plan)
    except ValueError:  # the shape of the input is not fixed
        return plan.trainable_size, 0


def _plan_all(modules: ModuleSet, subsets: Sequence[Subtask]) -> dict[Subtask, Cost]:
    return {each: _cost(modules.plan(each)) for each in dict.fromkeys(subsets)}


def _powers(
    known: Mapping[Subtask, Cost], classes: Subtask, base: int, sample: Sequence[Subtask]
) -> tuple[tuple[int, float, float], ...]:
    """The power of each sampled number of classes: 1 for the base."""
    total = np.maximum(known[classes], 1)

    def logarithm(subsets: list[Subtask]) -> np.ndarray:
        lacking = 1 - np.mean([known[each] for each in subsets], axis=0) / total
        return np.log(np.clip(lacking, MIN_SHARE, 1 - MIN_SHARE))

    first = logarithm(_subsets(classes, base))
    sizes = sorted({len(each) for each in sample if len(each) > base})
    powers = [logarithm([each for each in sample if len(each) == k]) / first for k in sizes]
    return ((base, 1.0, 1.0), *((k, *map(float, p)) for k, p in zip(sizes, powers, strict=True)))


def _error(costs: CompositionCosts, classes: Subtask) -> float:
    off = np.abs(np.subtract(costs.estimate(classes), costs.known[classes]))
    return float((off / np.maximum((costs.parameters, costs.flops), 1)).max())


def _measured(rows: Sequence[Mapping[str, Any]], original: Cost) -> dict[Subtask, Cost]:
    shares = {
        tuple(sorted(row["classes"])): (row["size"], row["flops"] if original[1] else 0)
        for row in rows
        if "size" in row and "flops" in row
    }
    return {
        classes: tuple(round(share * whole) for share, whole in zip(pair, original, strict=True))
        for classes, pair in shares.items()
    }
