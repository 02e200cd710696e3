"""Reads a model as a graph."""

import keras

from moda_keras.graph.channel_axes import assign_channel_axes, last_axis
from moda_keras.graph.graph import Graph, Tensor
from moda_keras.graph.model_inputs import is_optional
from moda_keras.graph.to_functional import to_functional
from moda_keras.graph.tracer import Tracer


def trace(model: keras.Model) -> Graph:
    """Reads a built model, nested models and composite layers inlined.

    Args:
        model: A built model. Of a subclassed one, the graph is that of `to_functional(model)`.

    Returns:
        Its `Graph`; `graph.model` is the functional model.

    Raises:
        ValueError: If the model is not built yet, or its `call` is no graph of layers.
    """
    model = to_functional(model)
    inputs = [Tensor(t, last_axis(t)) for t in model.inputs]
    optional = [each for each in inputs if is_optional(each.keras_tensor)]
    source = next((each for each in inputs if each not in optional), inputs[0])
    tracer = Tracer(source, optional)
    outputs = tracer.trace_into(tracer.steps, model, inputs, training=None)
    if tracer.time_masks.is_mixed:
        tracer = Tracer(source, optional, sees_masked_attention=False)
        outputs = tracer.trace_into(tracer.steps, model, inputs, training=None)
    in_graph = {step.operation for step in tracer.steps}
    opaque = {layer: why for layer, why in tracer.opaque.items() if layer in in_graph}
    time_masks = tracer.time_masks
    graph = Graph(inputs, outputs, tracer.steps, model, opaque, time_masks.masks, time_masks.steps)
    assign_channel_axes(graph)
    return graph


def require_single_output(model: keras.Model) -> None:
    """Raises a ValueError if `model` has several outputs or output values other than (B, C)."""
    if len(model.outputs) != 1:
        raise ValueError(
            "Expected a model with one output, the class logits or probabilities. Received: model "
            f"{model.name!r} with {len(model.outputs)} outputs. Pick one: "
            "`keras.Model(model.inputs, model.outputs[i])`. Composed models can keep the others: "
            "`mk.compose(..., keep_outputs=model)`."
        )
    shape = tuple(model.outputs[0].shape)
    if len(shape) == 2 and shape[-1] == 1:
        raise ValueError(
            "Expected a model whose output has shape (batch, classes) with at least 2 classes. "
            f"Received: model {model.name!r} with output shape {shape}. If it is a binary "
            "classifier, make a model of two classes of it: `mk.two_class_model(model)`"
        )
    if len(shape) != 2 or shape[-1] is None or shape[-1] < 2:
        raise ValueError(
            "Expected a model whose output has shape (batch, classes) with at least 2 classes. "
            f"Received: model {model.name!r} with output shape {shape}"
        )
