"""Locates a model's logits: before its output activation, if it has one."""

from typing import Any

import keras

from moda_keras.graph import Graph, Step, activation_name, is_feature_activation


def find_output_activation(graph: Graph) -> Step | None:
    """The step that is, or ends in, the activation of the model's output; None without one.

    Linear activations may follow it, such as the casts to float32 in mixed precision. A hidden
    activation does not count as the output's activation.
    """
    producers = {tensor: step for step in graph.steps for tensor in step.outputs}
    tensor = graph.outputs[0]
    while (step := producers.get(tensor)) and _passes_through(step.operation):
        tensor = step.inputs[0]
    if step is None or activation_name(step.operation) == "linear":
        return None
    is_hidden = tensor is not graph.outputs[0] and is_feature_activation(step.operation)
    return None if is_hidden else step


def has_activation_argument(operation: Any) -> bool:
    """Whether a copy of the operation can be made linear by `activation="linear"`."""
    return getattr(operation, "activation", None) is not None


def _passes_through(operation: Any) -> bool:
    is_plain = isinstance(operation, (keras.layers.Activation, keras.layers.Identity))
    return is_plain and activation_name(operation) == "linear"
