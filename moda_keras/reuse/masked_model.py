"""The full-size masked model that defines modules."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from moda_keras.graph import (
    Graph,
    Step,
    Tensor,
    in_structure_of,
    new_inputs,
    observed_tensors,
    unique_name,
)
from moda_keras.layers.unit_mask import UnitMask
from moda_keras.modules.checks import chosen_modules
from moda_keras.modules.module import Module
from moda_keras.modules.module_set import ModuleSet
from moda_keras.slicing.copying import copy_operation, copy_weights
from moda_keras.slicing.logits import find_output_activation, has_activation_argument


def masked_model(
    modules: ModuleSet | Sequence[Module],
    classes: Sequence[int | str] | None = None,
    *,
    name: str | None = None,
) -> keras.Model:
    """Builds the full-size model that defines the modules of the chosen classes.

    Every unit outside the union of the modules is multiplied by zero at its hidden activation, and
    the chosen logits are read. In a recurrent layer, masked units are zero for the other units at
    the next time step too. `compose` gives the same function as a slim model.

    Args:
        modules: As of `compose`.
        classes: Class indices or names, at least one. Output `j` is `classes[j]`.
        name: Name of the new model.

    Returns:
        A functional `keras.Model` with output `(batch, len(classes))` and a `UnitMask` behind every
        hidden activation. Its layers are copies.

    Raises:
        ValueError: As `compose`.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> import moda_keras as mk
        >>> model = keras.Sequential([
        ...     keras.Input((2,)),
        ...     keras.layers.Dense(6, activation="relu", name="features"),
        ...     keras.layers.Dense(3),
        ... ])
        >>> units = {"features": np.repeat(np.eye(3, dtype=bool), 2, axis=1)}
        >>> modules = mk.ModuleSet.from_units(model, units)
        >>> mk.masked_model(modules, [2, 0]).get_layer("features_mask").mask
        [True, True, False, False, True, True]
    """
    modules, classes = chosen_modules(modules, classes)
    indices = modules.resolve_classes(classes)
    graph, units = modules.slicer.graph, modules.union(indices)
    copies = _Copies(graph)
    masks = _mask_layers(graph, units, copies.names)

    def mask_units(tensor, value):
        return masks[tensor](value) if tensor in masks else value

    inputs = new_inputs(modules.model)
    values = graph.run(inputs, call=copies.call, transform=mask_units)
    chosen = keras.ops.take(values[graph.outputs[0]], indices.tolist(), axis=-1)
    output = copies.activate(chosen)
    copies.copy_weights()
    for step, rule in modules.slicer.rules.items():
        if rule.feeds_back and step.outputs[0] in masks:
            mask = np.array(masks[step.outputs[0]].mask)
            copies.scale_weights(step.operation, rule.masked_weights(step, mask))
    return keras.Model(*in_structure_of(modules.model, inputs, output), name=name)


def _mask_layers(
    graph: Graph, units: dict[str, np.ndarray], names: set[str]
) -> dict[Tensor, UnitMask]:
    """A `UnitMask` for every tensor that shows units of which `units` has a mask."""
    return {
        tensor: UnitMask(
            units[hidden.name],
            axis=tensor.channel_axis,
            name=unique_name(f"{hidden.name}_mask", names),
        )
        for tensor, hidden in observed_tensors(graph).items()
        if hidden.name in units
    }


class _Copies:
    """Copies of a graph's operations, without the output activation."""

    def __init__(self, graph: Graph):
        self.output_step = find_output_activation(graph)
        self.names = {tensor.keras_tensor.name for tensor in graph.inputs}
        self.by_operation: dict[Any, Any] = {}

    def call(self, step: Step, args: tuple, kwargs: dict) -> Any:
        config = {}
        if step is self.output_step:
            if not has_activation_argument(step.operation):
                return args[0]
            config = {"activation": "linear"}
        return self._copy(step, **config)(*args, **kwargs)

    def activate(self, logits: keras.KerasTensor) -> keras.KerasTensor:
        """Applies the output activation."""
        if self.output_step is None:
            return logits
        operation = self.output_step.operation
        if not has_activation_argument(operation):
            return self._copy(self.output_step)(logits)
        return keras.layers.Activation(
            operation.activation,
            dtype=operation.compute_dtype,
            name=unique_name(f"{self.output_step.name}_activation", self.names),
        )(logits)

    def copy_weights(self) -> None:
        for original, copy in self.by_operation.items():
            copy_weights(copy, original)

    def scale_weights(self, operation: Any, factors: dict[str, np.ndarray]) -> None:
        for weight in self.by_operation[operation].weights:
            if weight.name in factors:
                factor = keras.ops.cast(factors[weight.name], weight.dtype)
                weight.assign(weight * factor)

    def _copy(self, step: Step, **config: Any) -> Any:
        operation = step.operation
        if operation not in self.by_operation:
            name = unique_name(step.name, self.names)
            self.by_operation[operation] = copy_operation(operation, name, **config)
        return self.by_operation[operation]
