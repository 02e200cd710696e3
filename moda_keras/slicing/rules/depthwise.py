"""Depthwise convolutions: every output channel comes from one input channel."""

import keras
import numpy as np

from moda_keras.slicing.activations import apply_to_constants
from moda_keras.slicing.channels import Channels
from moda_keras.slicing.registry import Rule, Slice, WeightSlice, keeps_channel_axis, register_rule
from moda_keras.slicing.rules.dense_like import has_zero_border, multiples


@register_rule(keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
class Depthwise(Rule):
    """Slices the kernel by input channel. Of a constant input comes a constant, not zero."""

    reads_idle = True

    def applies(self, step):
        expected = {"kernel", "bias"} if step.operation.use_bias else {"kernel"}
        names = {weight.name for weight in step.operation.weights}
        return names == expected and keeps_channel_axis(step)

    def needs(self, step, needed):
        return [needed.reshape(step.inputs[0].channels, -1).any(axis=1)]

    def slice(self, step, inputs, wanted):
        layer = step.operation
        origins = np.unique(wanted // layer.depth_multiplier)
        source = inputs[0].only(origins)
        if has_zero_border(layer):
            source = source.explicit(origins[source.const[origins] != 0])
        kept = multiples(source.kept, layer.depth_multiplier)
        idle = None if source.idle is None else np.repeat(source.idle, layer.depth_multiplier)
        const = np.zeros(step.outputs[0].channels)
        output = Channels(kept, const, idle)
        dropped = wanted[~output.is_kept[wanted]]
        if len(dropped):
            const[dropped] = self.constants(layer, source.const)[dropped]
        weights = {"kernel": WeightSlice({-2: source.kept}), "bias": WeightSlice({0: kept})}
        if not layer.use_bias:
            del weights["bias"]
        return Slice([source], output, weights=weights)

    def constants(self, layer, const) -> np.ndarray:
        """The output of constant input channels, `(output channels,)`."""
        kernel = keras.ops.convert_to_numpy(layer.kernel).astype("float64")
        sums = kernel.sum(axis=tuple(range(kernel.ndim - 2)))
        output = (sums * const[:, None]).reshape(-1)
        if layer.use_bias:
            output += keras.ops.convert_to_numpy(layer.bias)
        return apply_to_constants(layer.activation, output)
