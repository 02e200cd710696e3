"""Gives a model's first output an activation that no other output reads."""

import dataclasses
from collections import Counter
from typing import Any

import keras

from moda_keras.graph import Graph, Step, Tensor, shallow_copy
from moda_keras.slicing.logits import has_activation_argument


def with_own_activation(graph: Graph, activation: Step) -> Graph:
    """A graph of the same values, whose output activation can be taken over some classes.

    If other outputs read what the activation of the first output gives, or its layer is called for
    them too, the first output gets an activation of its own, of the same logits. The layers stay as
    they are; a layer with kernel and activation has a copy without activation in its place, which
    shares the weights.

    Args:
        graph: The graph of a model of several outputs.
        activation: The step that is, or ends in, the activation of the first output.

    Returns:
        The graph; `graph` itself if nothing else reads the activation.
    """
    behind = _steps_behind(graph, activation)
    calls = sum(step.operation is activation.operation for step in graph.steps)
    is_called_again = calls > 1 and has_activation_argument(activation.operation)
    if not is_called_again and _is_read_alone(graph, [activation, *behind]):
        return graph
    steps, logits = list(graph.steps), activation.inputs[0]
    if getattr(activation.operation, "weights", ()):
        steps, logits = _split(graph, activation)
    own = [_own(activation, logits)]
    for step in behind:
        own.append(_again(step, own[-1].outputs[0]))
    outputs = [own[-1].outputs[0], *graph.outputs[1:]]
    return dataclasses.replace(graph, steps=[*steps, *own], outputs=outputs)


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


def _split(graph: Graph, activation: Step) -> tuple[list[Step], Tensor]:
    """The steps with every call of the layer as two, and the logits of this call."""
    layer = activation.operation
    linear = shallow_copy(layer, layer.name)
    # Not by `setattr`: an activation that is a layer is registered with the original.
    vars(linear)["activation"] = keras.activations.linear
    steps, logits = [], None
    for step in graph.steps:
        if step.operation is not layer:
            steps.append(step)
            continue
        made = _like(step.outputs[0])
        name = f"{step.name}_activation"
        steps.append(Step(linear, step.args, step.kwargs, [made], step.name))
        steps.append(Step(_activation_of(layer, name), (made,), {}, step.outputs))
        logits = made if step is activation else logits
    return steps, logits


def _own(activation: Step, logits: Tensor) -> Step:
    """The activation of the logits, once more."""
    layer = activation.operation
    if getattr(layer, "weights", ()):
        name = f"{activation.name}_activation"
        return Step(_activation_of(layer, name), (logits,), {}, [_like(activation.outputs[0])])
    return _again(activation, logits)


def _again(step: Step, source: Tensor) -> Step:
    """A step once more, of another tensor."""
    args, kwargs = step.arguments({step.inputs[0]: source})
    return Step(
        shallow_copy(step.operation, step.operation.name),
        args, kwargs, [_like(step.outputs[0])], step.name,
    )  # fmt: skip


def _activation_of(layer: Any, name: str) -> keras.layers.Layer:
    # Not the layer's dtype policy, which may be that of a quantized layer.
    return keras.layers.Activation(layer.activation, dtype=layer.compute_dtype, name=name)


def _like(tensor: Tensor) -> Tensor:
    symbolic = keras.KerasTensor(tensor.shape, dtype=tensor.keras_tensor.dtype)
    return Tensor(symbolic, tensor.channel_axis)
