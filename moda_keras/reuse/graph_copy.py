"""A copy of a model's graph that ends in its logits."""

from typing import Any

import keras
import numpy as np

from moda_keras.graph import Graph, Step, copy_hidden_state, layer_name
from moda_keras.slicing.builder import Weights
from moda_keras.slicing.copying import copy_weights
from moda_keras.slicing.logits import find_output_activation, has_activation_argument
from moda_keras.slicing.operation_copies import OperationCopies


class GraphCopy(OperationCopies):
    """Copies of a graph's operations, without the output activation.

    Args:
        graph: The graph of a model.
    """

    def __init__(self, graph: Graph):
        super().__init__(graph)
        self.output_step = find_output_activation(graph)

    def call(self, step: Step, args: tuple, kwargs: dict) -> Any:
        """Calls the copy of a step's operation, as `Graph.run` does with the operation itself."""
        config = {}
        if step is self.output_step:
            if not has_activation_argument(step.operation):
                return args[0]
            config = {"activation": "linear"}
        return self.of(step, **config)(*args, **kwargs)

    def activate(self, logits: keras.KerasTensor) -> keras.KerasTensor:
        """Applies the output activation."""
        if self.output_step is None:
            return logits
        operation = self.output_step.operation
        if not has_activation_argument(operation):
            return self.of(self.output_step)(logits)
        return keras.layers.Activation(
            operation.activation,
            dtype=operation.compute_dtype,
            name=layer_name(f"{self.output_step.name}_activation", self.names),
        )(logits)

    def copy_weights(self, new: Weights | None = None) -> None:
        """Gives all copies their originals' weights, and what else their configs do not tell.

        Args:
            new: By operation and name of the weight, values in place of some of them.
        """
        for original, copy in self.by_operation.items():
            copy_weights(copy, original, (new or {}).get(original))
            is_output = self.output_step is not None and original is self.output_step.operation
            copy_hidden_state(copy, original, is_whole=not is_output)

    def scale_weights(self, operation: Any, factors: dict[str, np.ndarray]) -> None:
        """Multiplies weights of the copy of an operation, by their names."""
        for weight in self.by_operation[operation].weights:
            if weight.name in factors:
                factor = keras.ops.cast(factors[weight.name], weight.dtype)
                weight.assign(weight * factor)
