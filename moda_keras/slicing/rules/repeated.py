"""Values that are the same for every sample, taken or repeated along other axes."""

import numpy as np

from moda_keras.layers.first_rows import FirstRows
from moda_keras.layers.over_batch import OverBatch
from moda_keras.slicing.channels import Channels
from moda_keras.slicing.registry import Rule, Slice, register_rule


@register_rule(FirstRows, OverBatch)
class Repeated(Rule):
    """Hands on the channels that are there. Of the other tensor, a length alone is read."""

    def applies(self, step):
        values, output = step.inputs[0], step.outputs[0]
        new_axes = len(output.shape) - len(values.shape)
        is_moved = output.channel_axis - values.channel_axis == new_axes
        return is_moved and values.channel_axis > 0 and values.channels == output.channels

    def needs(self, step, needed):
        return [needed, np.zeros(step.inputs[1].channels, bool)]

    def slice(self, step, inputs, wanted):
        values, reference = inputs
        values = values.only(wanted)
        return Slice([values, reference.only(wanted[:0])], Channels(values.kept, values.const))
