"""Layers that merge several tensors: sums, products, concatenations."""

import functools
from collections.abc import Callable

import keras
import numpy as np

from moda_keras.graph import Tensor
from moda_keras.slicing.activations import step_on_constants
from moda_keras.slicing.channels import Channels, mask_of
from moda_keras.slicing.registry import Rule, Slice, register_rule

_FUNCTIONS: dict[str, Callable] = {
    "Add": np.add,
    "Subtract": np.subtract,
    "Multiply": np.multiply,
    "Maximum": np.maximum,
    "Minimum": np.minimum,
    "Divide": np.divide,
    "TrueDivide": np.divide,
    "Power": np.power,
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

    reads_idle = True

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
        varying = self.is_varying(step, inputs, size)
        if not varying[wanted].any():
            varying[wanted[0]] = True
        idle = self.is_held(inputs, size) & ~varying
        kept = wanted[(varying | idle)[wanted]]
        idle = idle if idle.any() else None
        const = np.zeros(size)
        dropped = wanted[~varying[wanted]]
        if len(dropped):
            const[dropped] = self.constants(step, inputs, size)[dropped]
        fed = [Channels(kept, s.const, idle) if s.size == size else s for s in inputs]
        fed = [s.exactly(np.zeros(1, int)) if s.size == 1 < size else s for s in fed]
        return Slice(fed, Channels(kept, const, idle))

    def is_held(self, inputs, size) -> np.ndarray:
        """Bool array `(channels,)`: which channels all inputs have, if only as idle ones."""
        if all(source.idle is None for source in inputs):
            return np.zeros(size, dtype=bool)
        held = [mask_of(source.kept, source.size) for source in inputs]
        return np.all([np.broadcast_to(mask, (size,)) for mask in held], axis=0)

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


@register_rule("CustomScaleLayer")
class ScaledSum(Broadcasting):
    """A sum with a scaled second term, as in InceptionResNetV2."""

    def constants(self, step, inputs, size):
        first, second = (source.dropped_const for source in inputs)
        return first + second * step.operation.scale


@register_rule(keras.layers.Concatenate, "Concatenate")
class Concatenation(Rule):
    """Concatenates the kept channels of every input."""

    reads_idle = True

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
        fed = []
        for source, offset in zip(inputs, self.offsets(step), strict=True):
            is_wanted = ((wanted >= offset) & (wanted < offset + source.size)).any()
            # A consumer that needs fewer channels picks them from the concatenated output.
            fed.append(source if is_wanted else source.only(wanted[:0]))
        kept = [s.kept + offset for s, offset in zip(fed, self.offsets(step), strict=True)]
        const = np.concatenate([source.const for source in inputs])
        idle = np.concatenate([mask_of(s.kept, s.size) & ~s.is_kept for s in fed])
        return Slice(fed, Channels(np.concatenate(kept), const, idle if idle.any() else None))

    def offsets(self, step) -> list[int]:
        """Where the channels of every input begin in the output."""
        sizes = [tensor.channels for tensor in step.inputs]
        return np.cumsum([0, *sizes[:-1]]).tolist()


def _kind(step) -> str:
    return type(step.operation).__name__
