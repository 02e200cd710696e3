"""Layers called several times, which must be sliced the same way in every call."""

from typing import Any

import numpy as np

from moda_keras.graph import Step, Tensor
from moda_keras.slicing.channels import Channels
from moda_keras.slicing.plan import PlannedStep
from moda_keras.slicing.registry import Rule, Slice
from moda_keras.slicing.rules.opaque import OPAQUE


class Agreement:
    """What the calls of every layer that shares its weights among several have in common.

    All calls are asked for the channels that any of them needs, then fed with the channels that any
    of them is fed with. If the layer's weights still differ from call to call (different constants
    folded into one bias), the layer is taken whole. Every round asks for more, so there is an end.
    """

    def __init__(self, steps: list[Step]):
        calls: dict[Any, list[Step]] = {}
        for step in steps:
            if getattr(step.operation, "weights", ()):
                calls.setdefault(step.operation, []).append(step)
        self.calls = {operation: each for operation, each in calls.items() if len(each) > 1}
        self.needed: dict[Any, np.ndarray] = {}
        self.fed: dict[Any, list[np.ndarray]] = {}
        self.whole: set[Any] = set()

    def is_shared(self, step: Step) -> bool:
        return step.operation in self.calls

    def rule(self, step: Step, rule: Rule) -> Rule:
        is_whole = step.operation in self.whole
        return OPAQUE if is_whole or (rule.several_outputs and self.is_shared(step)) else rule

    def sources(self, step: Step, sources: list[Channels]) -> list[Channels]:
        """What the step is fed with: as much as every other call of the layer."""
        fed = self.fed.get(step.operation)
        return (
            sources if fed is None else [s.explicit(f) for s, f in zip(sources, fed, strict=True)]
        )

    def is_reached_on(self, needed: dict[Tensor, np.ndarray]) -> bool:
        """Whether all calls of every layer are asked for the same; if not, they will be."""
        is_reached = True
        for operation, steps in self.calls.items():
            masks = [needed[step.outputs[0]] for step in steps]
            if operation in self.whole or _all_same(masks):
                continue
            is_reached = False
            if len({len(mask) for mask in masks}) > 1:
                self.whole.add(operation)
            else:
                self.needed[operation] = np.any(masks, axis=0)
        return is_reached

    def is_reached_by(self, planned: list[PlannedStep]) -> bool:
        """Whether all calls of every layer make the same of it; if not, a next try differs."""
        slices: dict[Any, list[Slice]] = {}
        for each in planned:
            if each.step.operation in self.calls and each.step.operation not in self.whole:
                slices.setdefault(each.step.operation, []).append(each.slice)
        disagreed = [op for op, each in slices.items() if not _make_one_layer(each)]
        for operation in disagreed:
            inputs = zip(*(each.inputs for each in slices[operation]), strict=True)
            fed = [np.unique(np.concatenate([each.kept for each in call])) for call in inputs]
            before = self.fed.get(operation, [None] * len(fed))
            if all(map(np.array_equal, before, fed)):
                self.whole.add(operation)
            self.fed[operation] = fed
        return not disagreed


def _all_same(arrays: list[np.ndarray]) -> bool:
    return all(np.array_equal(array, arrays[0]) for array in arrays[1:])


def _make_one_layer(slices: list[Slice]) -> bool:
    first = _described(slices[0])
    return all(_described(each) == first for each in slices[1:])


def _described(decision: Slice) -> Any:
    """What the new layer will be, in terms that can be compared."""
    weights = {
        name: (
            sorted((axis, tuple(indices)) for axis, indices in each.axes.items()),
            None if each.added is None else each.added.tolist(),
        )
        for name, each in decision.weights.items()
    }
    return repr(decision.config), [tuple(each.kept) for each in decision.inputs], weights
