"""Finds the hidden activations where units are observed."""

from dataclasses import dataclass
from typing import Any

import keras

from moda_keras.graph.channel_axes import labels_of_einsum
from moda_keras.graph.graph import Graph, Step, Tensor
from moda_keras.graph.non_linearities import (
    activation_name,
    gives_exact_zeros,
    is_feature_activation,
    is_gate,
    is_non_negative,
)
from moda_keras.graph.operations import kind_of
from moda_keras.graph.tracing import trace
from moda_keras.graph.unique_names import unique_name
from moda_keras.layers.modular_activation import ModularActivation


@dataclass(frozen=True, eq=False)
class HiddenActivation:
    """The output of a hidden layer's non-linearity: where units are observed.

    Attributes:
        name: Name of the layer or operation whose output it is.
        units: Number of units (neurons of a dense layer, channels of a convolutional one).
        channel_axis: Positive int, the axis of the units.
        exact_zero: Whether the non-linearity gives exact zeros, as ReLU does. Where it does not
            (GELU, tanh, ...), a unit counts as active if its magnitude exceeds a small epsilon.
        non_negative: Whether it never gives negative values.
        operation: The layer or operation.
        tensor: The `keras.KerasTensor` that it puts out. If the operation is inside a composite
            layer, it tells shape and dtype, but is not part of the model.
    """

    name: str
    units: int
    channel_axis: int
    exact_zero: bool
    non_negative: bool
    operation: Any
    tensor: keras.KerasTensor

    def __repr__(self) -> str:
        return f"HiddenActivation(name={self.name!r}, units={self.units})"


def find_hidden_activations(model: keras.Model) -> list[HiddenActivation]:
    """Finds the hidden activations of a Functional or Sequential model.

    A hidden activation is the output of an operation that is an activation, or that has a
    non-linear `activation`; gates (sigmoid, hard_sigmoid), softmax and the model's outputs are not.
    Where the model has any `moda_keras.layers.ModularActivation`, only those count.

    Args:
        model: A built Functional or Sequential model. Nested models are looked into.

    Returns:
        List of `HiddenActivation`, in the order of execution; empty if there is none.

    Raises:
        ValueError: If the model has no graph (a subclassed model) or is not built yet.

    Examples:
        >>> import keras
        >>> import moda_keras as mk
        >>> model = keras.Sequential([
        ...     keras.Input((4,)),
        ...     keras.layers.Dense(8, activation="relu", name="features"),
        ...     keras.layers.Dense(3, activation="softmax"),
        ... ])
        >>> mk.find_hidden_activations(model)
        [HiddenActivation(name='features', units=8)]
    """
    return [hidden for hidden, _ in hidden_activations_of(trace(model))]


def hidden_activations_of(graph: Graph) -> list[tuple[HiddenActivation, Tensor]]:
    """The hidden activations of a traced model, each with its tensor in the graph."""
    producers = {tensor: step for step in graph.steps for tensor in step.outputs}
    candidates = [s for s in graph.steps if _is_hidden_activation(s, graph, producers)]
    marked = [s for s in candidates if isinstance(s.operation, ModularActivation)]
    found, taken = [], set()
    for step in marked or candidates:
        tensor = step.outputs[0]
        name = unique_name(step.name, taken)
        hidden = HiddenActivation(
            name=name,
            units=tensor.channels,
            channel_axis=tensor.channel_axis,
            exact_zero=gives_exact_zeros(step.operation),
            non_negative=is_non_negative(step.operation),
            operation=step.operation,
            tensor=tensor.keras_tensor,
        )
        found.append((hidden, tensor))
    return found


def observed_tensors(graph: Graph) -> dict[Tensor, HiddenActivation]:
    """The tensors that show hidden activations' units: outputs and returned states."""
    producers = {tensor: step for step in graph.steps for tensor in step.outputs}
    return {
        tensor: hidden
        for hidden, first in hidden_activations_of(graph)
        for tensor in _with_states(first, producers[first])
    }


def _with_states(output: Tensor, step: Step) -> list[Tensor]:
    return step.outputs if isinstance(step.operation, keras.layers.RNN) else [output]


def _is_hidden_activation(step: Step, graph: Graph, producers: dict[Tensor, Step]) -> bool:
    if any(tensor in graph.outputs for tensor in step.outputs):
        return False
    return (
        is_feature_activation(step.operation)
        or _puts_out_heads(step, producers)
        or _is_gated(step, producers)
    )


def _is_gated(step: Step, producers: dict[Tensor, Step]) -> bool:
    """Whether the step weighs what a layer puts out by gates, as a gated linear unit does.

    Not if the layer has an activation: then that shows the units.
    """
    if kind_of(step.operation) != "Multiply" or len(step.inputs) != 2:
        return False
    if len({tensor.shape for tensor in (*step.inputs, *step.outputs)}) > 1:
        return False
    gates = [t in producers and is_gate(producers[t].operation) for t in step.inputs]
    if sum(gates) != 1:
        return False
    return _is_linear_output(step.inputs[gates.index(False)], producers)


def _is_linear_output(tensor: Tensor, producers: dict[Tensor, Step]) -> bool:
    """Whether a layer with a kernel made the values, and no activation since."""
    step = producers.get(tensor)
    while step is not None and len(step.inputs) == 1 and not is_feature_activation(step.operation):
        is_normalized = isinstance(step.operation, keras.layers.BatchNormalization)
        if getattr(step.operation, "weights", ()) and not is_normalized:
            return not is_gate(step.operation)
        step = producers.get(step.inputs[0])
    return False


def _puts_out_heads(step: Step, producers: dict[Tensor, Step]) -> bool:
    """Whether the step weighs values by attention: its output has the heads as its channels."""
    if kind_of(step.operation) == "DotProductAttention":
        return True
    labels = labels_of_einsum(step) if kind_of(step.operation) == "Einsum" else None
    if labels is None or len(step.outputs[0].shape) < 3:
        return False
    heads = labels[0][0][step.inputs[0].channel_axis]
    is_shared = all(heads in operand for operand in [*labels[0], labels[1]])
    return is_shared and _ends_in_softmax(step.inputs[0], producers)


def _ends_in_softmax(tensor: Tensor, producers: dict[Tensor, Step]) -> bool:
    step = producers.get(tensor)
    while step and isinstance(step.operation, keras.layers.Dropout):
        step = producers.get(step.inputs[0])
    return step is not None and activation_name(step.operation) == "softmax"
