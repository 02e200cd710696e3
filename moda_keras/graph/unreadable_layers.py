"""Layers whose inner activations the graph does not show."""

from typing import Any

import keras
import numpy as np

from moda_keras.graph.graph import Graph, Step
from moda_keras.graph.non_linearities import is_feature_activation
from moda_keras.graph.operations import kind_of
from moda_keras.graph.plain_class import plain_class
from moda_keras.layers.modular_activation import ModularActivation

# Keras's own layers with units inside, of which a call may stay one operation.
_COMPOSITES = (
    keras.layers.Bidirectional,
    keras.layers.GroupQueryAttention,
    keras.layers.MultiHeadAttention,
    keras.layers.RNN,
)


def find_unreadable_layers(traced: Graph) -> list[keras.layers.Layer]:
    """Layers with activations inside that the graph does not show.

    They are layers of other packages that have weights, inner layers, or are themselves a
    non-linearity; and Keras's own composite layers and wrappers in calls that are not seen through.
    A layer that contains a `ModularActivation` is not among them: it is marked.

    Args:
        traced: The graph of a model.

    Returns:
        List of layers, in the order of execution.
    """
    steps = {step.operation: step for step in reversed(traced.steps)}
    layers = dict.fromkeys(step.operation for step in traced.steps)
    return [
        layer
        for layer in layers
        if isinstance(layer, keras.layers.Layer) and _hides_activations(steps[layer])
    ]


def contains_marked_activation(layer: keras.layers.Layer) -> bool:
    """Whether a layer has a `ModularActivation` among its inner layers."""
    return any(isinstance(inner, ModularActivation) for inner in _inner_layers(layer))


def explain_no_activation(traced: Graph) -> str:
    """Why a model has no hidden activation and what to do, for an error message."""
    names = [layer.name for layer in find_unreadable_layers(traced)]
    hidden = f" Those inside the layers {names} are not visible." if names else ""
    return (
        f"Expected a model with at least one hidden activation: a hidden layer with a non-linear "
        f"activation. Received: model {traced.model.name!r}, whose graph shows none.{hidden} "
        "Sigmoid, hard_sigmoid and softmax count as gates. Apply activations as Keras layers in "
        "the graph, or mark them with `moda_keras.layers.ModularActivation`"
    )


def _hides_activations(step: Step) -> bool:
    layer = step.operation
    if is_feature_activation(layer) or contains_marked_activation(layer):
        return False
    package = plain_class(layer).__module__.partition(".")[0]
    if package in ("keras", "moda_keras") and not isinstance(layer, keras.Model):
        return isinstance(layer, _COMPOSITES) or _wraps_activation(layer)
    return bool(layer.trainable_weights or _inner_layers(layer)) or _is_non_linear(step)


def _wraps_activation(layer: keras.layers.Layer) -> bool:
    inner = _inner_layers(layer) if isinstance(layer, keras.layers.Wrapper) else []
    return any(is_feature_activation(each) or isinstance(each, _COMPOSITES) for each in inner)


def _is_non_linear(step: Step) -> bool:
    """Whether a layer without weights is not affine, as seen at a few points."""
    shapes = [(2, *tensor.shape[1:]) for tensor in step.inputs]
    if len(shapes) != 1 or None in shapes[0] or kind_of(step.operation):
        return False
    x = np.random.default_rng(0).normal(size=shapes[0]).astype("float32")

    def outputs(values: np.ndarray) -> np.ndarray:
        args, kwargs = step.arguments({step.inputs[0]: keras.ops.convert_to_tensor(values)})
        result = keras.tree.flatten(step.operation(*args, **kwargs))[0]
        return keras.ops.convert_to_numpy(result).astype("float64")

    try:
        ahead, back, middle = outputs(x), outputs(-x), outputs(np.zeros_like(x))
    except (TypeError, ValueError, RuntimeError):  # it takes something else than such floats
        return False
    return not np.allclose(ahead + back, 2 * middle, rtol=1e-3, atol=1e-4)


def _inner_layers(layer: Any) -> list[keras.layers.Layer]:
    return list(layer._flatten_layers(include_self=False, recursive=True))
