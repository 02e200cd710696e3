"""Exposes a model's output and hidden activations to a training step."""

from typing import Any

import keras

from moda_keras import graph
from moda_keras.graph import HiddenActivation
from moda_keras.ops import Observation
from moda_keras.ops.backends import backend


class TappedModel:
    """Runs the graph of a model, nested models inlined, with a tap behind every hidden activation.

    A tap lets the activation through and hands it to the objectives. Where the backend has a `tap`
    of its own, it reads the activation vectors (B, D) off a map, and in the backward pass adds
    their gradient to the one from the next layer in place, so that no gradient the size of a map is
    written for the objectives.

    Args:
        traced: The graph of a functional model.
    """

    def __init__(self, traced: graph.Graph):
        self.graph = traced
        _, self.output = graph.inputs_and_outputs(traced.model)
        self.hidden = {tensor: each for each, tensor in graph.hidden_activations_of(traced)}
        self.entry = graph.entry_of(traced.model)

    def __call__(self, inputs: Any, training: bool | None) -> tuple[Any, list[Observation]]:
        """The output, in the model's structure, and the observations in the order of execution."""
        observed: dict[graph.Tensor, Observation] = {}

        def observe(tensor, value):
            if tensor not in self.hidden:
                return value
            is_masked = tensor in self.graph.masks
            value, observed[tensor] = _tapped(self.hidden[tensor], value, is_masked)
            return value

        def call(step, args, kwargs):
            # As Keras does in a functional model: a mode asked for overrules what a node recorded.
            if training is not None and graph.accepts_training(step.operation):
                kwargs = {**kwargs, "training": training}
            return step.operation(*args, **kwargs)

        flat = keras.tree.flatten(self.entry(inputs, training=training))
        values = self.graph.run(flat, call, transform=observe)
        for tensor, mask in self.graph.run_masks(values, self.hidden).items():
            observed[tensor] = observed[tensor]._replace(mask=mask)
        outputs = [values[tensor] for tensor in self.graph.outputs]
        packed = keras.tree.pack_sequence_as(self.output, outputs)
        return packed, [observed[tensor] for tensor in self.hidden]


def _tapped(hidden: HiddenActivation, value: Any, is_masked: bool) -> tuple[Any, Observation]:
    observation = Observation(value, hidden.channel_axis, hidden.non_negative)
    if not backend.has_tap:
        return value, observation
    if len(value.shape) == 2:
        # One dtype for all: the operations take the activations of a step together.
        vectors = keras.ops.cast(value, _real_dtype(value))
        return value, Observation(vectors, 1, hidden.non_negative)
    # The tap looks at all positions; and a mask that is an attribute of the value would be lost.
    if is_masked or getattr(value, "_keras_mask", None) is not None:
        return value, observation
    value, vectors = backend.tap(value, hidden.channel_axis, hidden.non_negative)
    return value, Observation(vectors, 1, True)


def _real_dtype(value: Any) -> str:
    dtype = keras.backend.standardize_dtype(value.dtype)
    return dtype if dtype == "float64" else "float32"
