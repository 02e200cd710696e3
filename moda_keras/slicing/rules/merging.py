"""Layers that merge several tensors: sums, products, concatenations."""

import functools
from collections.abc import Callable

import keras
import numpy as np

from moda_keras.graph import Tensor
from moda_keras.slicing.activations import step_on_constants
from moda_keras.slicing.channels import Channels
from moda_keras.slicing.registry import Rule, Slice, register_rule

_FUNCTIONS: dict[str, Callable] = {
    "Add": np.add,
    "Subtract": np.subtract,
    "Multiply": np.multiply,
    "Maximum": np.maximum,
    "Minimum": np.minimum,
}


@register_rule(
    keras.layers.Add, keras.layers.Subtract, keras.layers.Multiply, keras.layers.Maximum,
    keras.layers.Minimum, keras.layers.Average,
    *_FUNCTIONS,
)  # fmt: skip
class Broadcasting(Rule):
    """Merges channel by channel: a channel is there if it is there in any of the inputs.

    Inputs with a single channel are merged into every channel. An operator with a number, such as
    `x * 2.0`, has one input.
    """

    def applies(self, step):
        output = step.outputs[0]
        others = keras.tree.flatten((step.args, step.kwargs))
        return all(
            len(tensor.shape) == len(output.shape)
            and tensor.channel_axis == output.channel_axis
            and tensor.channels in (1, output.channels)
            for tensor in step.inputs
        ) and all(np.ndim(x) == 0 for x in others if not isinstance(x, Tensor) and x is not None)

    def needs(self, step, needed):
        return [needed if t.channels == len(needed) else np.ones(1, bool) for t in step.inputs]

    def slice(self, step, inputs, wanted):
        size = step.outputs[0].channels
        kept = wanted[self.is_varying(step, inputs, size)[wanted]]
        kept = kept if len(kept) else wanted[:1]
        const = np.zeros(size)
        dropped = np.setdiff1d(wanted, kept)
        if len(dropped):
            const[dropped] = self.constants(step, inputs, size)[dropped]
        fed = [source.exactly(kept) if source.size == size else source for source in inputs]
        return Slice(fed, Channels(kept, const))

    def is_varying(self, step, inputs, size) -> np.ndarray:
        """Bool array `(channels,)`: which outputs are no constants."""
        kept = [np.broadcast_to(source.is_kept, (size,)) for source in inputs]
        varying = np.any(kept, axis=0)
        if _kind(step) == "Multiply":
            for source in inputs:
                varying &= np.broadcast_to(source.is_kept | (source.const != 0), (size,))
        return varying

    def constants(self, step, inputs, size) -> np.ndarray:
        values = [np.broadcast_to(source.dropped_const, (size,)) for source in inputs]
        if len(values) == 1:
            return step_on_constants(step, values[0])
        if _kind(step) == "Average":
            return np.mean(values, axis=0)
        return functools.reduce(_FUNCTIONS[_kind(step)], values)


@register_rule(keras.layers.Concatenate, "Concatenate")
class Concatenation(Rule):
    """Concatenates, along the channels, what there is of every input."""

    def applies(self, step):
        output = step.outputs[0]
        axis = step.operation.axis
        return (
            axis is not None
            and axis % len(output.shape) == output.channel_axis
            and all(tensor.channel_axis == output.channel_axis for tensor in step.inputs)
        )

    def needs(self, step, needed):
        return np.split(needed, self.offsets(step)[1:])

    def slice(self, step, inputs, wanted):
        fed, kept = [], []
        for source, offset in zip(inputs, self.offsets(step), strict=True):
            own = wanted[(wanted >= offset) & (wanted < offset + source.size)] - offset
            fed.append(source.only(own))
            kept.append(fed[-1].kept + offset)
        const = np.concatenate([source.const for source in inputs])
        return Slice(fed, Channels(np.concatenate(kept), const))

    def offsets(self, step) -> list[int]:
        """Where the channels of every input begin in the output."""
        sizes = [tensor.channels for tensor in step.inputs]
        return np.cumsum([0, *sizes[:-1]]).tolist()


def _kind(step) -> str:
    return type(step.operation).__name__
