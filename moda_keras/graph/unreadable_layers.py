"""Layers whose inner activations the graph does not show."""

import keras

from moda_keras.graph.graph import Graph
from moda_keras.graph.non_linearities import is_feature_activation
from moda_keras.layers.modular_activation import ModularActivation


def find_unreadable_layers(traced: Graph) -> list[keras.layers.Layer]:
    """Layers of other packages whose inner activations the graph does not show.

    A layer that contains a `ModularActivation` is not among them: it is marked.
    """
    operations = dict.fromkeys(step.operation for step in traced.steps)
    layers = [op for op in operations if isinstance(op, keras.layers.Layer)]
    return [layer for layer in layers if _hides_activations(layer)]


def contains_marked_activation(layer: keras.layers.Layer) -> bool:
    """Whether a layer has a `ModularActivation` among its inner layers."""
    return any(isinstance(inner, ModularActivation) for inner in _inner_layers(layer))


def _hides_activations(layer: keras.layers.Layer) -> bool:
    package = type(layer).__module__.partition(".")[0]
    if package in ("keras", "moda_keras") and not isinstance(layer, keras.Model):
        return False
    if is_feature_activation(layer) or contains_marked_activation(layer):
        return False
    return bool(layer.trainable_weights or _inner_layers(layer))


def _inner_layers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    return list(layer._flatten_layers(include_self=False, recursive=True))
