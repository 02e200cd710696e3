"""The hidden activations of a model, read without changing the model."""

from typing import Any

import keras
import numpy as np

from moda_keras import graph
from moda_keras.ops import MaskedActivation


class ActivationProbe(keras.Model):
    """Puts out the hidden activations of a model, in inference mode.

    It runs the model's graph, nested models inlined, with the model's own layers. A functional
    model of them would have to rename layers of nested models that have the same name.

    Args:
        traced: The graph of the model.
    """

    def __init__(self, traced: graph.Graph):
        super().__init__(name="activation_probe")
        self.model = traced.model
        self.graph = traced
        found = graph.hidden_activations_of(traced)
        self.hidden = [hidden for hidden, _ in found]
        self.tensors = [tensor for _, tensor in found]
        self.entry = graph.entry_of(traced.model)

    def call(self, inputs, training=False) -> list[Any]:
        flat = keras.tree.flatten(self.entry(inputs, training=training))
        return self.activations_of(self.graph.run(flat))

    def activations_of(self, values: dict[graph.Tensor, Any]) -> list[Any]:
        """The hidden activations among the values of the graph's tensors.

        Args:
            values: From `Graph.run`.

        Returns:
            For each a tensor, or a `MaskedActivation` if Keras sends a mask of time steps along.
        """
        masks = self.graph.run_masks(values, self.tensors)
        return [
            MaskedActivation(values[tensor], masks[tensor]) if tensor in masks else values[tensor]
            for tensor in self.tensors
        ]


def without_padding(activations: Any) -> list[np.ndarray]:
    """What an `ActivationProbe` has predicted, with zeros in the place of padding.

    Args:
        activations: List of arrays and `MaskedActivation`s of arrays.

    Returns:
        List of arrays.
    """
    found = []
    for each in activations:
        if isinstance(each, MaskedActivation):
            values, mask = map(np.asarray, each)
            mask = mask.astype(bool).reshape(mask.shape + (1,) * (values.ndim - mask.ndim))
            each = np.where(mask, values, 0)
        found.append(np.asarray(each))
    return found
