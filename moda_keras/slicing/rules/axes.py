"""Calls of `keras.ops` that move, add, reduce or cut axes, and leave the channels unchanged."""

import math

import keras
import numpy as np

from moda_keras.graph import Step
from moda_keras.slicing.channels import Channels
from moda_keras.slicing.registry import Rule, Slice, register_rule
from moda_keras.slicing.rules.channelwise import Channelwise


class MovesChannels(Channelwise):
    """Applies where the axis of the channels comes to lie where the output's channels are."""

    def applies(self, step):
        source, output = step.inputs[0], step.outputs[0]
        if len(step.inputs) != 1 or source.channels != output.channels:
            return False
        return self.new_axis(step, source.channel_axis) == output.channel_axis

    def new_axis(self, step: Step, axis: int) -> int | None:
        """Where `axis` of the input comes to lie; None if it is not left whole."""
        raise NotImplementedError


@register_rule("Transpose")
class Transposition(MovesChannels):
    """`keras.ops.transpose`, the batch staying first."""

    def new_axis(self, step, axis):
        rank = len(step.inputs[0].shape)
        axes = [each % rank for each in step.operation.axes or ()]
        return axes.index(axis) if axes and axes[0] == 0 else None


@register_rule("Mean", "Max", "Min", "Amax", "Amin")
class Reduction(MovesChannels):
    """A reduction over axes other than the channels'; constants are unchanged."""

    def applies(self, step):
        return getattr(step.operation, "initial", None) is None and super().applies(step)

    def new_axis(self, step, axis):
        reduced = self.reduced(step)
        if not reduced or axis in reduced or 0 in reduced:
            return None
        return axis if step.operation.keepdims else axis - sum(each < axis for each in reduced)

    def reduced(self, step) -> list[int]:
        axes = step.operation.axis
        return [] if axes is None else _positive(axes, len(step.inputs[0].shape))


@register_rule("Sum")
class Summation(Reduction):
    """A sum of equal constants is a multiple of them."""

    def applies(self, step):
        return super().applies(step) and self.count(step) is not None

    def constants(self, step, const, channels):
        return const[channels] * self.count(step)

    def count(self, step) -> int | None:
        """How many values are added, if that is known."""
        lengths = [step.inputs[0].shape[axis] for axis in self.reduced(step)]
        return None if None in lengths else math.prod(lengths)


@register_rule("Squeeze")
class Squeezing(MovesChannels):
    """`keras.ops.squeeze`."""

    def new_axis(self, step, axis):
        shape, axes = step.inputs[0].shape, step.operation.axis
        lost = [i for i, length in enumerate(shape) if length == 1]
        lost = lost if axes is None else _positive(axes, len(shape))
        return None if axis in lost else axis - sum(each < axis for each in lost)


@register_rule("ExpandDims")
class Expansion(MovesChannels):
    """`keras.ops.expand_dims`."""

    def new_axis(self, step, axis):
        rank = len(step.outputs[0].shape)
        added = _positive(step.operation.axis, rank)
        return [each for each in range(rank) if each not in added][axis]


@register_rule("GetItem")
class Indexing(MovesChannels):
    """`x[:, 0]` and the like, where all channels are taken."""

    def new_axis(self, step, axis):
        key = step.args[1] if len(step.args) > 1 else step.kwargs["key"]
        places = _places(key if isinstance(key, tuple) else (key,), len(step.inputs[0].shape))
        return places.get(axis) if places.get(0) == 0 else None


@register_rule("Pad")
class Padding(Channelwise):
    """`keras.ops.pad` around the channels: what pads them may differ from a constant channel."""

    def applies(self, step):
        widths = np.broadcast_to(step.operation.pad_width, (len(step.inputs[0].shape), 2))
        is_untouched = not widths[[0, step.inputs[0].channel_axis]].any()
        return super().applies(step) and is_untouched and np.ndim(self.value(step)) == 0

    def source(self, step, source, wanted):
        if step.operation.mode != "constant":
            return source
        return source.explicit(wanted[source.const[wanted] != self.value(step)])

    def value(self, step) -> float:
        given = [*step.args[1:], step.kwargs.get("constant_values")]
        return 0.0 if given[0] is None else given[0]


@register_rule("Split")
class Splitting(Rule):
    """`keras.ops.split`, along the channels or another axis."""

    several_outputs = True

    def applies(self, step):
        axes = {tensor.channel_axis for tensor in [*step.inputs, *step.outputs]}
        return len(axes) == 1

    def needs(self, step, needed):
        along = self.is_along_channels(step)
        return [np.concatenate(needed) if along else np.any(needed, axis=0)]

    def slice(self, step, inputs, wanted):
        if not self.is_along_channels(step):
            source = inputs[0].only(np.unique(np.concatenate(wanted)))
            return Slice([source], [source] * len(wanted))
        parts = []
        offsets = np.cumsum([0, *(tensor.channels for tensor in step.outputs)])[:-1]
        for own, tensor, start in zip(wanted, step.outputs, offsets, strict=True):
            kept = np.intersect1d(inputs[0].kept, own + start) - start
            const = inputs[0].const[start : start + tensor.channels]
            parts.append(Channels(kept if len(kept) else own[:1], const))
        kept = [part.kept + start for part, start in zip(parts, offsets, strict=True)]
        ends = np.cumsum([len(part.kept) for part in parts[:-1]]).tolist()
        source = inputs[0].exactly(np.concatenate(kept))
        return Slice([source], parts, {"indices_or_sections": ends})

    def is_along_channels(self, step) -> bool:
        rank = len(step.inputs[0].shape)
        return step.operation.axis % rank == step.inputs[0].channel_axis


@register_rule(keras.layers.Dot)
class Contraction(Rule):
    """A product summed over the channels of both inputs: those that are zero in one are no part."""

    def applies(self, step):
        axes = np.broadcast_to(step.operation.axes, (2,))
        axes = [axis % len(t.shape) for axis, t in zip(axes, step.inputs, strict=True)]
        are_channels = axes == [tensor.channel_axis for tensor in step.inputs]
        return are_channels and not step.operation.normalize

    def needs(self, step, needed):
        return [np.ones(tensor.channels, dtype=bool) for tensor in step.inputs]

    def slice(self, step, inputs, wanted):
        counts = [source.is_kept | (source.const != 0) for source in inputs]
        read = np.flatnonzero(counts[0] & counts[1])
        read = read if len(read) else np.zeros(1, dtype=int)
        fed = [source.exactly(read) for source in inputs]
        return Slice(fed, Channels.full(step.outputs[0].channels))


def _positive(axes, rank: int) -> list[int]:
    return [axis % rank for axis in np.atleast_1d(axes).tolist()]


def _places(key: tuple, rank: int) -> dict[int, int]:
    """Maps every axis that `key` takes whole to its place in the result."""
    if not all(type(entry) in (int, slice, type(None), type(Ellipsis)) for entry in key):
        return {}
    missing = rank - sum(entry is not None and entry is not Ellipsis for entry in key)
    start = key.index(Ellipsis) if Ellipsis in key else len(key)
    full = [*key[:start], *[slice(None)] * missing, *key[start + 1 :]]
    places, axis, place = {}, 0, 0
    for entry in full:
        if entry == slice(None):
            places[axis] = place
        axis += entry is not None
        place += not isinstance(entry, int)
    return places
