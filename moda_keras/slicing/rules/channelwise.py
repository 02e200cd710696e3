"""Layers that map each input channel to the output channel of the same index."""

import keras
import numpy as np

from moda_keras.layers.modular_activation import ModularActivation
from moda_keras.slicing.activations import (
    ELEMENTWISE_OPERATIONS,
    mixes_channels,
    step_on_constants,
)
from moda_keras.slicing.channels import Channels
from moda_keras.slicing.registry import Rule, Slice, WeightSlice, keeps_channel_axis, register_rule


@register_rule(
    keras.layers.ActivityRegularization, keras.layers.AlphaDropout, keras.layers.Dropout,
    keras.layers.GaussianDropout, keras.layers.GaussianNoise, keras.layers.Identity,
    keras.layers.SpatialDropout1D, keras.layers.SpatialDropout2D, keras.layers.SpatialDropout3D,
    keras.layers.AveragePooling1D, keras.layers.AveragePooling2D, keras.layers.AveragePooling3D,
    keras.layers.MaxPooling1D, keras.layers.MaxPooling2D, keras.layers.MaxPooling3D,
    keras.layers.GlobalAveragePooling1D, keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalAveragePooling3D, keras.layers.GlobalMaxPooling1D,
    keras.layers.GlobalMaxPooling2D, keras.layers.GlobalMaxPooling3D,
    keras.layers.Cropping1D, keras.layers.Cropping2D, keras.layers.Cropping3D,
    keras.layers.UpSampling1D, keras.layers.UpSampling2D, keras.layers.UpSampling3D,
    keras.layers.AdaptiveAveragePooling1D, keras.layers.AdaptiveAveragePooling2D,
    keras.layers.AdaptiveAveragePooling3D, keras.layers.AdaptiveMaxPooling1D,
    keras.layers.AdaptiveMaxPooling2D, keras.layers.AdaptiveMaxPooling3D,
    "AveragePool", "MaxPool", "StochasticDepth",
)  # fmt: skip
class Channelwise(Rule):
    """Slices per channel and leaves constants unchanged, as for pooling and dropout."""

    reads_idle = True

    def applies(self, step):
        if len(step.inputs) != 1 or step.inputs[0].channels != step.outputs[0].channels:
            return False
        if len(step.inputs[0].shape) == len(step.outputs[0].shape):
            return keeps_channel_axis(step)
        axis = 1 if step.operation.data_format == "channels_first" else -1  # global pooling
        return step.inputs[0].channel_axis == axis % len(step.inputs[0].shape)

    def needs(self, step, needed):
        return [needed]

    def slice(self, step, inputs, wanted):
        source = self.source(step, inputs[0].only(wanted), wanted)
        dropped = wanted[~source.is_kept[wanted]]
        const = np.zeros(source.size)
        if len(dropped):
            const[dropped] = self.constants(step, source.const, dropped)
        output = Channels(source.kept, const, source.idle)
        weights = self.weight_slices(step, source.kept)
        return Slice([source], output, self.config(step, source.kept), weights)

    def source(self, step, source: Channels, wanted) -> Channels:
        """The input channels that the layer needs, given the available ones."""
        return source

    def constants(self, step, const, channels) -> np.ndarray:
        """The outputs of the constant `channels`, where `const` holds all channels' inputs."""
        return const[channels]

    def config(self, step, kept) -> dict:
        return {}

    def weight_slices(self, step, kept) -> dict[str, WeightSlice]:
        return {}


@register_rule(
    keras.layers.Activation, keras.layers.ELU, keras.layers.LeakyReLU, keras.layers.ReLU,
    keras.layers.Softmax, ModularActivation,
    *ELEMENTWISE_OPERATIONS,
)  # fmt: skip
class Elementwise(Channelwise):
    """Functions of single values: activations and `keras.ops` calls."""

    def source(self, step, source, wanted):
        # The softmax over the chosen logits; no logit of them may be missing.
        return source.exactly(wanted) if mixes_channels(step.operation) else source

    def constants(self, step, const, channels):
        return step_on_constants(step, const[channels])


@register_rule(keras.layers.Permute)
class Permute(Channelwise):
    """Moves the channel axis; the channels are unchanged."""

    def applies(self, step):
        source, output = step.inputs[0], step.outputs[0]
        return (0, *step.operation.dims)[output.channel_axis] == source.channel_axis


@register_rule(keras.layers.RepeatVector)
class RepeatVector(Channelwise):
    """Repeats a vector along a new axis before its channels."""

    def applies(self, step):
        return True


@register_rule("LayerScale")
class LayerScale(Channelwise):
    """One trained factor per channel, as in ConvNeXt."""

    def config(self, step, kept):
        return {"projection_dim": len(kept)}

    def constants(self, step, const, channels):
        return const[channels] * read(step.operation.gamma, channels)

    def weight_slices(self, step, kept):
        return {step.operation.gamma.name: WeightSlice({0: kept})}


@register_rule(keras.layers.ZeroPadding1D, keras.layers.ZeroPadding2D, keras.layers.ZeroPadding3D)
class ZeroPadding(Channelwise):
    """With its zero border, a non-zero constant is a constant no longer."""

    def source(self, step, source, wanted):
        return source.explicit(np.intersect1d(wanted, np.flatnonzero(source.const)))


@register_rule(keras.layers.Rescaling)
class Rescaling(Channelwise):
    """One scale and one offset for all channels."""

    def applies(self, step):
        layer = step.operation
        return super().applies(step) and np.ndim(layer.scale) == np.ndim(layer.offset) == 0

    def constants(self, step, const, channels):
        return const[channels] * float(step.operation.scale) + float(step.operation.offset)


@register_rule(keras.layers.PReLU)
class PReLU(Channelwise):
    """Slices the slopes along the channels, unless all channels share them."""

    def source(self, step, source, wanted):
        # A slope per position makes different values of one negative constant.
        if self.slopes(step).shape[0] == 1:
            return source
        return source.explicit(np.intersect1d(wanted, np.flatnonzero(source.const)))

    def constants(self, step, const, channels):
        inputs = const[channels]
        slopes = np.broadcast_to(self.slopes(step)[0], (len(const),))[channels]
        return np.where(inputs < 0, slopes * inputs, inputs)

    def weight_slices(self, step, kept):
        axis = step.outputs[0].channel_axis - 1
        is_shared = step.operation.alpha.shape[axis] == 1
        return {} if is_shared else {"alpha": WeightSlice({axis: kept})}

    def slopes(self, step) -> np.ndarray:
        """The slopes, as an array (positions, channels), each 1 where they are shared."""
        alpha = keras.ops.convert_to_numpy(step.operation.alpha)
        moved = np.moveaxis(alpha, step.outputs[0].channel_axis - 1, -1)
        return moved.reshape(-1, moved.shape[-1])


def read(weight, channels) -> np.ndarray:
    """The values of a weight `(all channels,)` at `channels`, as float64."""
    return keras.ops.convert_to_numpy(weight)[channels].astype("float64")
