"""The CNN of an `MwTModel` without its mask generators."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from moda_keras.graph import Step, Tensor, in_structure_of, layer_name, new_inputs
from moda_keras.layers import ModularActivation
from moda_keras.methods.mwt.convolutions import NORMALIZATIONS
from moda_keras.methods.mwt.layer_copies import LayerCopies
from moda_keras.methods.mwt.masked_graph import MaskedGraph

# Their last axis is that of the output channels; the output is linear in them taken together.
_WEIGHTS_OF_OUTPUTS = ("kernel", "pointwise_kernel", "bias", "gamma", "beta")


def bare_model(masked: MaskedGraph, factors: Mapping[str, np.ndarray]) -> keras.Model:
    """A CNN with a mark on the kernels of every convolution, where the masks were.

    Args:
        masked: The graph of an `MwTModel`.
        factors: Dict from names of masks to float arrays (D,), which take the place of the masks.
            They go into the weights of the normalization or the convolution before them.

    Returns:
        A Keras model. Its hidden activations are the marks, which pass their input through. They
        have the names of the masks; convolutions without mask have theirs with `_mask`.
    """
    writer = _Writer(masked, factors)
    inputs = new_inputs(masked.graph.model)
    values = masked.bare.run(inputs, call=writer.call, transform=writer.transform)
    writer.copies.copy_weights()
    for mask in masked.masks.values():
        if mask.hidden.name in factors:
            copy = writer.copies.by_operation[mask.producer.operation]
            _scale(copy, factors[mask.hidden.name])
    output = values[masked.bare.outputs[0]]
    model = masked.graph.model
    return keras.Model(*in_structure_of(model, inputs, output), name=model.name)


class _Writer:
    def __init__(self, masked: MaskedGraph, factors: Mapping[str, np.ndarray]):
        self.copies = LayerCopies(masked.graph)
        self.masks = masked.masks
        self.copies.names |= {mask.hidden.name for mask in self.masks.values()}
        self.scaled = {m.producer for m in self.masks.values() if m.hidden.name in factors}
        self.whole = {convolution.masked: convolution for convolution in masked.whole}

    def call(self, step: Step, args: tuple, kwargs: dict) -> Any:
        if step in self.masks:
            hidden = self.masks[step].hidden
            return _mark(args[0], hidden.name, hidden.operation)
        layer = step.operation
        if step in self.scaled and isinstance(layer, NORMALIZATIONS) and not layer.scale:
            # Not `copy_operation`, of whose copies all weights must be set.
            name = layer_name(step.name, self.copies.names)
            config = {**layer.get_config(), "scale": True, "name": name}
            self.copies.by_operation[layer] = type(layer).from_config(config)
        return self.copies.call(step, args, kwargs)

    def transform(self, tensor: Tensor, value: Any) -> Any:
        if tensor not in self.whole:
            return value
        layer = self.whole[tensor].layer
        return _mark(value, layer_name(f"{layer.name}_mask", self.copies.names), layer)


def _mark(x: keras.KerasTensor, name: str, like: keras.layers.Layer) -> keras.KerasTensor:
    return ModularActivation(data_format=like.data_format, dtype=like.dtype_policy, name=name)(x)


def _scale(layer: keras.layers.Layer, factor: np.ndarray) -> None:
    """Multiplies what a convolution or normalization puts out, by weights of its output's axis."""
    for weight in layer.weights:
        if weight.name in _WEIGHTS_OF_OUTPUTS:
            scaled = keras.ops.convert_to_numpy(weight) * factor.astype("float32")
            weight.assign(scaled)
