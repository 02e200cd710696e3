"""What is done with everything that no other rule can slice."""

import numpy as np

from moda_keras.slicing.channels import Channels
from moda_keras.slicing.registry import Rule, Slice


class Opaque(Rule):
    """Takes an operation whole: all input channels in, all output channels out.

    It is always right and never slimmer. It serves attention, LayerNormalization, grouped
    convolutions, layers that share their weights among several calls, and what is not known.
    """

    def needs(self, step, needed):
        return [np.ones(tensor.channels or 1, dtype=bool) for tensor in step.inputs]

    def slice(self, step, inputs, wanted):
        fed = [source.exactly(np.arange(source.size)) for source in inputs]
        return Slice(fed, Channels.full(step.outputs[0].channels or 1))


OPAQUE = Opaque()
