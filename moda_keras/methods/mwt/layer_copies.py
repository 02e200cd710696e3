"""Copies of a model's layers, to be called in a rewritten graph."""

from typing import Any

import keras

from moda_keras.graph import Graph, Step, copy_hidden_state, layer_name
from moda_keras.layers import ModularActivation
from moda_keras.slicing.copying import copy_operation, copy_weights


class LayerCopies:
    """Copies of the layers and operations of a graph, one of each, with their names.

    A `ModularActivation` becomes a plain activation: the new graph has marks of its own.

    Args:
        graph: The graph of a model.

    Attributes:
        names: The names that are taken.
        by_operation: Dict from original to copy.
    """

    def __init__(self, graph: Graph):
        self.names = {tensor.keras_tensor.name for tensor in graph.inputs}
        self.by_operation: dict[Any, Any] = {}

    def call(self, step: Step, args: tuple, kwargs: dict, **config: Any) -> Any:
        """Calls the copy of a step's operation.

        Args:
            step: A step of the graph.
            args: Its arguments, with values for tensors.
            kwargs: Its keyword arguments, likewise.
            **config: Entries of the layer's config that change.

        Returns:
            What it puts out.
        """
        operation = step.operation
        if operation not in self.by_operation:
            self.by_operation[operation] = self._copy(operation, step.name, config)
        return self.by_operation[operation](*args, **kwargs)

    def copy_weights(self) -> None:
        """Gives the copies their originals' weights, and what else their configs do not tell."""
        for original, copy in self.by_operation.items():
            if len(getattr(copy, "weights", ())) == len(getattr(original, "weights", ())):
                copy_weights(copy, original)
            else:
                _copy_by_name(copy, original)
            copy_hidden_state(copy, original, is_whole=True)

    def _copy(self, operation: Any, name: str, config: dict) -> Any:
        name = layer_name(name, self.names)
        if isinstance(operation, ModularActivation):
            return keras.layers.Activation(
                operation.activation, dtype=operation.dtype_policy, name=name
            )
        return copy_operation(operation, name, **config)


def _copy_by_name(copy: keras.layers.Layer, original: keras.layers.Layer) -> None:
    """Weights that the original does not have keep their initial values."""
    values = {weight.name: weight for weight in original.weights}
    for weight in copy.weights:
        if weight.name in values:
            # Through NumPy: JAX would share the array, and give its memory away in a step.
            weight.assign(keras.ops.convert_to_numpy(values[weight.name]))
