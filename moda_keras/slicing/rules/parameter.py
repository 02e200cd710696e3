"""Weights that a layer uses directly."""

import numpy as np

from moda_keras.layers.parameter import Parameter
from moda_keras.slicing.channels import Channels
from moda_keras.slicing.registry import Rule, Slice, WeightSlice, register_rule


@register_rule(Parameter)
class ParameterRule(Rule):
    """Slices the weight along the axis of the channels. Its input is not read."""

    def applies(self, step):
        return self.axis(step) >= 0

    def needs(self, step, needed):
        return [np.zeros(step.inputs[0].channels, bool)]

    def slice(self, step, inputs, wanted):
        layer = step.operation
        output = Channels.full(step.outputs[0].channels).exactly(wanted)
        shapes = {"shape": list(layer.shape), "output_shape": list(step.outputs[0].shape)}
        shapes["shape"][self.axis(step)] = len(wanted)
        shapes["output_shape"][step.outputs[0].channel_axis] = len(wanted)
        weights = {layer.value.name: WeightSlice({self.axis(step): wanted})}
        return Slice([inputs[0].only(wanted[:0])], output, shapes, weights)

    def axis(self, step) -> int:
        """The axis of the weight that holds the channels; negative if none does."""
        output = step.outputs[0]
        return output.channel_axis - (len(output.shape) - len(step.operation.shape))
