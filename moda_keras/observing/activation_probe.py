"""The hidden activations of a model, read without changing the model."""

from typing import Any

import keras

from moda_keras import graph


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
        values = self.graph.run(flat)
        return [values[tensor] for tensor in self.tensors]
