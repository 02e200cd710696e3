"""Masks of time steps that go along with sequences."""

import numpy as np

from moda_keras.layers.time_mask import TimeMask
from moda_keras.slicing.registry import Rule, Slice, register_rule


@register_rule(TimeMask)
class TimeMaskRule(Rule):
    """Slices the sequence per channel and takes the mask whole, for it has no channels."""

    reads_idle = True
    whole_inputs = True

    def applies(self, step):
        return step.inputs[0].channel_axis == step.outputs[0].channel_axis

    def needs(self, step, needed):
        return [needed, np.ones(step.inputs[1].channels or 1, bool)]

    def slice(self, step, inputs, wanted):
        source, mask = inputs[0].only(wanted), inputs[1]
        return Slice([source, mask.exactly(np.arange(mask.size))], source)
