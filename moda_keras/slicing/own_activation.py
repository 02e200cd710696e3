"""Gives a model's first output an activation that no other output reads."""

import dataclasses
from collections import Counter

import keras

from moda_keras.graph import Graph, Step, Tensor, shallow_copy
from moda_keras.slicing.logits import has_activation_argument


def with_own_activation(graph: Graph, activation: Step) -> Graph:
    """A graph of the same values, whose output activation can be taken over some classes.

    Where other outputs read what the activation of the first output gives, or its layer is called
    for them too, the first output gets an activation of its own, of the same logits. The layers
    stay as they are; in the place of one with kernel and activation there are a copy of it without
    activation, which shares the weights, and the activation.

    Args:
        graph: The graph of a model of several outputs.
        activation: The step that is, or ends in, the activation of the first output.

    Returns:
        The graph; `graph` itself if nothing else reads the activation.
    """
    path = [activation, *_steps_behind(graph, activation)]
    calls = sum(step.operation is activation.operation for step in graph.steps)
    is_called_again = calls > 1 and has_activation_argument(activation.operation)
    is_read_alone = _is_read_alone(graph, path)
    has_weights = bool(getattr(activation.operation, "weights", ()))
    if is_called_again or (has_weights and not is_read_alone):
        graph, path[0] = _apart(graph, activation)
    return graph if is_read_alone else _with_path_again(graph, path)


def _steps_behind(graph: Graph, activation: Step) -> list[Step]:
    """The steps from the activation to the first output: they leave the values as they are."""
    makers = {tensor: step for step in graph.steps for tensor in step.outputs}
    found = []
    step = makers[graph.outputs[0]]
    while step is not activation:
        found.append(step)
        step = makers[step.inputs[0]]
    return found[::-1]


def _is_read_alone(graph: Graph, path: list[Step]) -> bool:
    readers = Counter(tensor for step in graph.steps for tensor in step.inputs)
    readers.update(graph.outputs)
    return all(readers[step.outputs[0]] == 1 for step in path)


def _apart(graph: Graph, activation: Step) -> tuple[Graph, Step]:
    """The graph in which every call of the layer has an activation of its own, and this one's."""
    layer = activation.operation
    linear = _without_activation(layer) if getattr(layer, "weights", ()) else None
    steps: list[Step] = []
    for step in graph.steps:
        if step.operation is not layer:
            steps.append(step)
            continue
        own = dataclasses.replace(step, operation=shallow_copy(layer, layer.name))
        if linear is not None:
            logits = _like(step.outputs[0])
            name = f"{step.name}_logits"
            steps.append(Step(linear, step.args, step.kwargs, [logits], name))
            own = Step(_activation_of(layer), (logits,), {}, step.outputs, step.name)
        steps.append(own)
        activation = own if step is activation else activation
    return dataclasses.replace(graph, steps=steps), activation


def _without_activation(layer: keras.layers.Layer) -> keras.layers.Layer:
    linear = shallow_copy(layer, layer.name)
    # Not by `setattr`: an activation that is a layer is registered with the original.
    vars(linear)["activation"] = keras.activations.linear
    return linear


def _activation_of(layer: keras.layers.Layer) -> keras.layers.Layer:
    # Not the layer's dtype policy, which may be that of a quantized layer.
    return keras.layers.Activation(layer.activation, dtype=layer.compute_dtype, name=layer.name)


def _with_path_again(graph: Graph, path: list[Step]) -> Graph:
    """The graph with steps to the first output alone, besides those that others read."""
    names = {
        step: step.name if step.outputs[0] in graph.outputs[1:] else f"{step.name}_of_all"
        for step in path
    }
    steps = [
        dataclasses.replace(step, name=names[step]) if step in names else step
        for step in graph.steps
    ]
    source = path[0].inputs[0]
    for step in path:
        args, kwargs = step.arguments({step.inputs[0]: source})
        source = _like(step.outputs[0])
        operation = shallow_copy(step.operation, step.operation.name)
        steps.append(Step(operation, args, kwargs, [source], step.name))
    return dataclasses.replace(graph, steps=steps, outputs=[source, *graph.outputs[1:]])


def _like(tensor: Tensor) -> Tensor:
    symbolic = keras.KerasTensor(tensor.shape, dtype=tensor.keras_tensor.dtype)
    return Tensor(symbolic, tensor.channel_axis)
