"""Masks and biases that a layer takes in addition to its channels."""

from typing import Any

import keras
import numpy as np

from moda_keras.graph import Step, Tensor
from moda_keras.slicing import registry
from moda_keras.slicing.channels import Channels
from moda_keras.slicing.registry import Rule, Slice

_NAMES = ("mask", "bias")


def find_rule(step: Step, *, at_output: bool = False) -> Rule | None:
    """The registered rule that can slice `step`, be it given side inputs or not; or None.

    Args:
        step: The call of an operation.
        at_output: As for `registry.find_rule`.
    """
    seen = without_side_inputs(step)
    rule = None if seen is None else registry.find_rule(seen, at_output=at_output)
    return rule if rule is None or seen is step else WithSideInputs(rule)


def without_side_inputs(step: Step) -> Step | None:
    """The step as seen by a rule: without masks and biases that are the same for all channels.

    None if they are not, so that no rule fits.
    """
    side = {name: step.kwargs[name] for name in _NAMES if step.kwargs.get(name) is not None}
    if any(_tells_channels_apart(step, value) for value in side.values()):
        return None
    tensors = {name for name, value in side.items() if isinstance(value, Tensor)}
    if not tensors:
        return step
    kwargs = {name: value for name, value in step.kwargs.items() if name not in tensors}
    return Step(step.operation, step.args, kwargs, step.outputs, step.name)


def _tells_channels_apart(step: Step, value: Any) -> bool:
    """Of scores (batch, heads, time, time), a mask may say something else for every head."""
    operation, tensor = step.operation, step.inputs[0]
    is_attention = type(operation).__name__ == "DotProductAttention"
    if not is_attention and not isinstance(operation, keras.layers.Softmax):
        return False  # a Keras mask, of time steps
    axis = (1 if is_attention else tensor.channel_axis) - len(tensor.shape)
    shape = value.shape if isinstance(value, Tensor) else np.shape(value)
    return len(shape) >= -axis and shape[axis] != 1


class WithSideInputs(Rule):
    """Another rule, for calls that are also given tensors which are taken whole."""

    def __init__(self, rule: Rule):
        self.rule = rule
        self.several_outputs = rule.several_outputs
        self.reads_idle = rule.reads_idle
        self.feeds_back = rule.feeds_back

    def needs(self, step, needed):
        whole = [np.ones(tensor.channels or 1, dtype=bool) for tensor in step.inputs]
        return self.merge(step, whole, self.rule.needs(without_side_inputs(step), needed))

    def slice(self, step, inputs, wanted):
        is_side = self.is_side(step)
        seen = [source for source, side in zip(inputs, is_side, strict=True) if not side]
        decision = self.rule.slice(without_side_inputs(step), seen, wanted)
        whole = [source.exactly(np.arange(source.size)) for source in inputs]
        fed: list[Channels] = self.merge(step, whole, decision.inputs)
        return Slice(fed, decision.output, decision.config, decision.weights)

    def masked_weights(self, step, mask):
        return self.rule.masked_weights(without_side_inputs(step), mask)

    def merge(self, step: Step, whole: list, seen: list) -> list:
        """One entry per input: of `whole` for side inputs, of `seen` for the others in turn."""
        remaining = iter(seen)
        return [
            default if side else next(remaining)
            for default, side in zip(whole, self.is_side(step), strict=True)
        ]

    def is_side(self, step: Step) -> list[bool]:
        """For every input of the step, whether it is one of the masks and biases."""
        marks = {
            name: keras.tree.map_structure(lambda leaf, name=name: name in _NAMES, value)
            for name, value in step.kwargs.items()
        }
        marks = (keras.tree.map_structure(lambda leaf: False, step.args), marks)
        leaves = keras.tree.flatten((step.args, step.kwargs))
        pairs = zip(leaves, keras.tree.flatten(marks), strict=True)
        return [mark for leaf, mark in pairs if isinstance(leaf, Tensor)]
