"""The same model without nested models."""

from typing import Any

import keras

from moda_keras.graph.graph import Graph
from moda_keras.graph.tracing import Functional, inner_model, nodes_in_order, require_graph, trace
from moda_keras.graph.unique_names import unique_name


def inline_nested(model: keras.Model) -> tuple[Any, Any]:
    """The inputs and outputs of `model` with nested models and `expansion`s inlined.

    Layers are shared with `model`. Without any the tensors are the model's own. Layers of
    different nested models that bear the same name are renamed, for a Keras model needs unique
    names.

    Args:
        model: A built Functional or Sequential model.

    Returns:
        Inputs and outputs for `keras.Model(inputs, outputs)`, in the model's own structure.
    """
    inputs, outputs = inputs_and_outputs(model)
    if not any(map(inner_model, nodes_in_order(model))):
        return inputs, outputs
    graph = trace(model)
    _make_names_unique(graph)
    values = graph.run(model.inputs)
    flat = [values[tensor] for tensor in graph.outputs]
    return inputs, keras.tree.pack_sequence_as(outputs, flat)


def inputs_and_outputs(model: keras.Model) -> tuple[Any, Any]:
    """Inputs and outputs as the user gave them: a tensor, list, or dict."""
    require_graph(model)
    if isinstance(model, Functional):
        return model.input, model.output
    return _unpack(model.inputs), _unpack(model.outputs)


def _unpack(tensors: list) -> Any:
    return tensors[0] if len(tensors) == 1 else tensors


def _make_names_unique(graph: Graph) -> None:
    taken: set[str] = set()
    for operation in dict.fromkeys(step.operation for step in graph.steps):
        name = unique_name(operation.name, taken)
        if name != operation.name:
            operation.name = name
