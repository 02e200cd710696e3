"""Layers that only change the shape."""

import functools

import keras
import numpy as np

from moda_keras.slicing.channels import Channels
from moda_keras.slicing.registry import Rule, Slice, register_rule


@register_rule(keras.layers.Flatten, keras.layers.Reshape, "Reshape")
class Reshaping(Rule):
    """Flatten and Reshape, where every new channel comes from one old channel.

    In memory, the values of a tensor follow each other as its shape says; one channel of a map is
    thus many units of a vector, interleaved (channels last) or in one run (channels first).
    """

    reads_idle = True

    def applies(self, step):
        known = all(None not in t.shape[1:] for t in [*step.inputs, *step.outputs])
        if not known or not self.keeps_batch(step):
            return False
        return self.origins(step) is not None

    def keeps_batch(self, step) -> bool:
        """Whether the batch axis stays as it is: no other axis becomes a part of it."""
        sizes = {int(np.prod(tensor.shape[1:])) for tensor in [*step.inputs, *step.outputs]}
        names_none = getattr(step.operation, "newshape", (-1,))[0] == -1  # a call of keras.ops
        return names_none and len(sizes) == 1

    def needs(self, step, needed):
        mask = np.zeros(step.inputs[0].channels, dtype=bool)
        mask[self.origins(step)[needed]] = True
        return [mask]

    def slice(self, step, inputs, wanted):
        origins = self.origins(step)
        source = inputs[0].only(np.unique(origins[wanted]))
        kept = self.kept(step, source.kept)
        idle = None if source.idle is None else source.idle[origins]
        output = Channels(kept, source.const[origins], idle)
        return Slice([source], output, self.config(step, len(kept)))

    def config(self, step, length) -> dict:
        target = list(step.outputs[0].shape[1:])
        target[step.outputs[0].channel_axis - 1] = length
        if isinstance(step.operation, keras.layers.Flatten):
            return {}
        if isinstance(step.operation, keras.layers.Reshape):
            return {"target_shape": tuple(target)}
        return {"newshape": (-1, *target)}

    def origins(self, step) -> np.ndarray | None:
        """The input channel of every output channel; None if one has several."""
        output = step.outputs[0]
        return _origins(*self.layout(step), output.shape[1:], output.channel_axis - 1)

    def kept(self, step, kept) -> np.ndarray:
        """The output channels, in their order, that come of the input channels `kept`."""
        shape, axis = self.layout(step)
        output = step.outputs[0]
        places = np.arange(np.prod(shape)).reshape(shape).take(kept, axis).ravel()
        inner = int(np.prod(output.shape[output.channel_axis + 1 :]))
        channels = places // inner % output.channels
        new_length = len(places) * output.channels // int(np.prod(shape))
        return channels.reshape(-1, new_length, inner)[0, :, 0]

    def layout(self, step) -> tuple[tuple[int, ...], int]:
        """Shape and channel axis, without the batch, in which the values lie in memory."""
        tensor = step.inputs[0]
        shape, axis = tensor.shape[1:], tensor.channel_axis - 1
        layer = step.operation
        # Flatten moves the channels of "channels_first" to the end before it flattens.
        moves = isinstance(layer, keras.layers.Flatten) and layer.data_format == "channels_first"
        if moves and len(shape) > 1:
            return (*shape[1:], shape[0]), (axis - 1) % len(shape)
        return shape, axis


@functools.lru_cache(maxsize=256)
def _origins(shape, axis, new_shape, new_axis) -> np.ndarray | None:
    index = np.arange(shape[axis]).reshape([-1 if i == axis else 1 for i in range(len(shape))])
    values = np.broadcast_to(index, shape).reshape(new_shape)
    per_channel = np.moveaxis(values, new_axis, 0).reshape(new_shape[new_axis], -1)
    return per_channel[:, 0] if (per_channel == per_channel[:, :1]).all() else None
