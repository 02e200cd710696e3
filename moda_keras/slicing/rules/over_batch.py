"""Values that are the same for every sample."""

import numpy as np

from moda_keras.layers.over_batch import OverBatch
from moda_keras.slicing.channels import Channels
from moda_keras.slicing.registry import Rule, Slice, register_rule


@register_rule(OverBatch)
class OverBatchRule(Rule):
    """Repeats the channels that are there. Of the other tensor the batch size alone is read."""

    def applies(self, step):
        values, output = step.inputs[0], step.outputs[0]
        return output.channel_axis - values.channel_axis == step.operation.new_axis

    def needs(self, step, needed):
        return [needed, np.zeros(step.inputs[1].channels, bool)]

    def slice(self, step, inputs, wanted):
        values, reference = inputs
        values = values.only(wanted)
        return Slice([values, reference.only(wanted[:0])], Channels(values.kept, values.const))
