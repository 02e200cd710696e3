"""Embeddings: indices in, channels out."""

import keras
import numpy as np

from moda_keras.slicing.channels import Channels
from moda_keras.slicing.registry import Rule, Slice, WeightSlice, register_rule
from moda_keras.slicing.rules.quantized import is_int8


@register_rule(keras.layers.Embedding)
class Embedding(Rule):
    """Slices the vectors. The indices and the vocabulary are unchanged."""

    whole_inputs = True

    def applies(self, step):
        layer = step.operation
        expected = {"embeddings"}
        if layer.lora_enabled:
            expected |= {"lora_embeddings_a", "lora_embeddings_b"}
        if is_int8(layer):
            expected |= {"embeddings_scale"}  # one for each index
        return {weight.name for weight in layer.weights} == expected

    def needs(self, step, needed):
        return [np.ones(step.inputs[0].channels or 1, dtype=bool)]

    def slice(self, step, inputs, wanted):
        indices = inputs[0].exactly(np.arange(inputs[0].size))
        output = Channels.full(step.outputs[0].channels).exactly(wanted)
        weights = {"embeddings": WeightSlice({1: wanted})}
        if step.operation.lora_enabled:
            weights["lora_embeddings_b"] = WeightSlice({1: wanted})
        return Slice([indices], output, {"output_dim": len(wanted)}, weights)
