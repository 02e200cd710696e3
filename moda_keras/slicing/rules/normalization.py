"""Normalizations: by statistics of each channel, of a group of channels, or of all of them."""

import keras
import numpy as np

from moda_keras.slicing.channels import Channels
from moda_keras.slicing.registry import Rule, Slice, WeightSlice, keeps_channel_axis, register_rule
from moda_keras.slicing.rules.channelwise import Channelwise, read
from moda_keras.slicing.rules.grouped import channels_of_groups


@register_rule(keras.layers.BatchNormalization)
class BatchNormalization(Channelwise):
    """Slices all weights; a constant is normalized as the layer does it."""

    def applies(self, step):
        axis = step.operation.axis % len(step.outputs[0].shape)
        return super().applies(step) and axis == step.outputs[0].channel_axis

    def constants(self, step, const, channels):
        layer = step.operation
        mean, variance = read(layer.moving_mean, channels), read(layer.moving_variance, channels)
        output = (const[channels] - mean) / np.sqrt(variance + layer.epsilon)
        if layer.scale:
            output *= read(layer.gamma, channels)
        return output + read(layer.beta, channels) if layer.center else output

    def weight_slices(self, step, kept):
        return {weight.name: WeightSlice({0: kept}) for weight in step.operation.weights}


@register_rule(keras.layers.Normalization)
class Normalization(Channelwise):
    """Slices the adapted or given mean and variance of every channel."""

    def applies(self, step):
        axes = step.operation.axis
        rank = len(step.outputs[0].shape)
        channel_axes = {axis % rank for axis in axes or ()}
        return super().applies(step) and channel_axes == {step.outputs[0].channel_axis}

    def source(self, step, source, wanted):
        return source.explicit(wanted)

    def config(self, step, kept):
        given = {key: step.operation.get_config()[key] for key in ("mean", "variance")}
        # One number may stand for all channels.
        return {
            key: np.ravel(value)[kept] if np.size(value) > 1 else value
            for key, value in given.items()
            if value is not None
        }

    def weight_slices(self, step, kept):
        names = [weight.name for weight in step.operation.weights]
        return {name: WeightSlice({0: kept}) for name in names if name != "count"}


@register_rule(keras.layers.GroupNormalization)
class GroupNormalization(Rule):
    """Whole groups go. A group of which anything varies is fed whole, for its statistics."""

    def applies(self, step):
        layer, output = step.operation, step.outputs[0]
        axis = layer.axis % len(output.shape)
        return keeps_channel_axis(step) and axis == output.channel_axis

    def needs(self, step, needed):
        members = needed.reshape(step.operation.groups, -1)
        return [np.repeat(members.any(axis=1), members.shape[1])]

    def slice(self, step, inputs, wanted):
        layer, source = step.operation, inputs[0]
        members = source.size // layer.groups
        varies = source.is_kept.reshape(layer.groups, members).any(axis=1)
        wanted_groups = np.unique(wanted // members)
        groups = wanted_groups[varies[wanted_groups]]
        groups = groups if len(groups) else wanted_groups[:1]
        kept = channels_of_groups(groups, members)
        output = Channels(kept, self.constants(layer, source.const))
        weights = {weight.name: WeightSlice({0: kept}) for weight in layer.weights}
        return Slice([source.exactly(kept)], output, {"groups": len(groups)}, weights)

    def constants(self, layer, const) -> np.ndarray:
        """The output of groups of which every channel is constant, `(channels,)`."""
        members = const.reshape(layer.groups, -1)
        deviation = members - members.mean(axis=1, keepdims=True)
        output = (deviation / np.sqrt(members.var(axis=1, keepdims=True) + layer.epsilon)).ravel()
        every = np.arange(len(const))
        output = output * read(layer.gamma, every) if layer.scale else output
        return output + read(layer.beta, every) if layer.center else output


@register_rule(keras.layers.UnitNormalization)
class UnitNormalization(Channelwise):
    """Divides by a norm over the channels, of which zeros are no part."""

    reads_idle = False

    def applies(self, step):
        axes = np.atleast_1d(step.operation.axis) % len(step.outputs[0].shape)
        return super().applies(step) and axes.tolist() == [step.outputs[0].channel_axis]

    def needs(self, step, needed):
        return [np.ones_like(needed)]

    def slice(self, step, inputs, wanted):
        source = inputs[0].explicit(np.flatnonzero(inputs[0].const))
        output = Channels(source.kept, np.zeros(source.size))
        config, weights = self.config(step, source.kept), self.weight_slices(step, source.kept)
        return Slice([source], output, config, weights)


@register_rule(keras.layers.RMSNormalization)
class RMSNormalization(UnitNormalization):
    """Divides by a mean over the channels: k of n have n / k times the mean square."""

    def config(self, step, kept):
        return {"epsilon": step.operation.epsilon * step.outputs[0].channels / len(kept)}

    def weight_slices(self, step, kept):
        factor = (step.outputs[0].channels / len(kept)) ** 0.5
        scale = read(step.operation.scale, kept)
        return {"scale": WeightSlice({0: kept}, scale * (factor - 1.0))}
