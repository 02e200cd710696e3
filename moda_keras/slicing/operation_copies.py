"""Copies of a graph's layers and operations, to be called in a new graph."""

from typing import Any

from moda_keras.graph import Graph, Step, copy_hidden_state, layer_name
from moda_keras.slicing.copying import copy_operation, copy_weights


class OperationCopies:
    """Copies of the layers and operations of a graph, one of each, with their names.

    Args:
        graph: The graph of a model.

    Attributes:
        names: The names that are taken.
        by_operation: Dict from original to copy.
    """

    def __init__(self, graph: Graph):
        self.names = {tensor.keras_tensor.name for tensor in graph.inputs}
        self.by_operation: dict[Any, Any] = {}

    def of(self, step: Step, **config: Any) -> Any:
        """The copy of a step's operation.

        Args:
            step: A step of the graph.
            **config: Entries of the config that change. The first call for an operation decides.

        Returns:
            A layer or operation, its weights not yet set.
        """
        operation = step.operation
        if operation not in self.by_operation:
            name = layer_name(step.name, self.names)
            self.by_operation[operation] = self.make(operation, name, **config)
        return self.by_operation[operation]

    def make(self, operation: Any, name: str, **config: Any) -> Any:
        """Makes a copy; subclasses may replace some layers."""
        return copy_operation(operation, name, **config)

    def copy_weights(self) -> None:
        """Gives all copies their originals' weights, and what else their configs do not tell."""
        for original, copy in self.by_operation.items():
            copy_weights(copy, original)
            copy_hidden_state(copy, original, is_whole=True)
