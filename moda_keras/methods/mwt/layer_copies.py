"""Copies of a model's layers, to be called in a rewritten graph."""

from typing import Any

import keras

from moda_keras.graph import Step, copy_hidden_state
from moda_keras.layers import ModularActivation
from moda_keras.slicing.copying import copy_weights
from moda_keras.slicing.operation_copies import OperationCopies


class LayerCopies(OperationCopies):
    """Copies of the layers and operations of a graph, without its marks of hidden activations.

    A `ModularActivation` becomes a plain activation: the new graph has marks of its own.
    """

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
        return self.of(step, **config)(*args, **kwargs)

    def make(self, operation: Any, name: str, **config: Any) -> Any:
        """Makes a copy."""
        if isinstance(operation, ModularActivation):
            return keras.layers.Activation(
                operation.activation, dtype=operation.dtype_policy, name=name
            )
        return super().make(operation, name, **config)

    def copy_weights(self) -> None:
        """Gives the copies their originals' weights; a copy may have a bias more than these."""
        for original, copy in self.by_operation.items():
            if len(getattr(copy, "weights", ())) == len(getattr(original, "weights", ())):
                copy_weights(copy, original)
            else:
                _copy_by_name(copy, original)
            copy_hidden_state(copy, original, is_whole=True)


def _copy_by_name(copy: keras.layers.Layer, original: keras.layers.Layer) -> None:
    """Weights that the original does not have keep their initial values."""
    values = {weight.name: weight for weight in original.weights}
    for weight in copy.weights:
        if weight.name in values:
            # Through NumPy: JAX would share the array, and give its memory away in a step.
            weight.assign(keras.ops.convert_to_numpy(values[weight.name]))
