"""Non-linear operations at which no units are observed, for they are no known activations."""

from collections.abc import Callable

import keras
import numpy as np

from moda_keras.graph.graph import Graph, Step, Tensor
from moda_keras.graph.hidden_activations import observed_tensors
from moda_keras.graph.non_linearities import is_gate
from moda_keras.graph.operations import kind_of
from moda_keras.graph.unreadable_layers import find_unreadable_layers

# Calls of `keras.ops`, and layers of the same names, that may serve as activations.
_NON_LINEAR = {
    "Abs", "Absolute", "Clip", "Cos", "Erf", "Exp", "Glu", "Maximum", "Minimum", "Sign", "Sin",
    "Where",
}  # fmt: skip
_NORMALIZATIONS = (
    keras.layers.BatchNormalization,
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
    keras.layers.Normalization,
    keras.layers.RMSNormalization,
)


def find_overlooked_operations(traced: Graph) -> list[str]:
    """Operations that make features of what a layer puts out, unseen.

    They are non-linear, read what no activation has made since the last layer with a kernel, and
    are read by the next such layer with no activation between: a maximum with zero, a maxout, a
    gated linear unit. A gate is overlooked only if it weighs such values.

    Args:
        traced: The graph of a model.

    Returns:
        Names of operations, in the order of execution.
    """
    features = _features(traced)
    seen = observed_tensors(traced)
    read_on = _read_without_activation(traced, lambda tensor: tensor in seen)
    producers = {tensor: step for step in traced.steps for tensor in step.outputs}
    return [
        step.name
        for step in traced.steps
        if step.outputs[0] in read_on
        and not any(tensor in features for tensor in step.inputs)
        and step.outputs[0] not in seen
        and _is_non_linear(step, producers)
    ]


def describe_overlooked_operations(traced: Graph) -> str | None:
    """A warning that names the overlooked operations of a model, or None if there are none."""
    names = find_overlooked_operations(traced)
    if not names:
        return None
    return (
        f"No units are observed at the operations {names}: they are non-linear, but not among the "
        "known activations. Use one of Keras's activations, or mark all hidden activations with "
        "`moda_keras.layers.ModularActivation`."
    )


def _features(traced: Graph) -> set[Tensor]:
    """The tensors that hold features: inputs, activations, and what is made of them."""
    seen, unreadable = observed_tensors(traced), set(find_unreadable_layers(traced))
    features = set(traced.inputs)
    for step in traced.steps:
        is_activation = any(tensor in seen for tensor in step.outputs)
        passes_on = any(t in features for t in step.inputs) and not _has_kernel(step)
        if is_activation or passes_on or step.operation in unreadable:
            features.update(step.outputs)
    return features


def _read_without_activation(traced: Graph, is_seen: Callable[[Tensor], bool]) -> set[Tensor]:
    """The tensors that a layer with a kernel reads, with no observed activation between."""
    found: set[Tensor] = set()
    for step in reversed(traced.steps):
        goes_on = any(tensor in found and not is_seen(tensor) for tensor in step.outputs)
        if _has_kernel(step) or goes_on:
            found.update(step.inputs)
    return found


def _has_kernel(step: Step) -> bool:
    layer = step.operation
    return bool(getattr(layer, "weights", ())) and not isinstance(layer, _NORMALIZATIONS)


def _is_non_linear(step: Step, producers: dict[Tensor, Step]) -> bool:
    kind = kind_of(step.operation)
    makers = [producers[tensor] for tensor in step.inputs if tensor in producers]
    if kind == "Max":  # a maxout, but not pooling
        axes = np.atleast_1d(step.operation.axis).tolist()
        rank = len(step.inputs[0].shape)
        is_over_channels = step.inputs[0].channel_axis in [axis % rank for axis in axes if axis]
        return is_over_channels or any(kind_of(maker.operation) == "Reshape" for maker in makers)
    if kind == "Multiply":
        return any(is_gate(maker.operation) for maker in makers)
    return kind in _NON_LINEAR
