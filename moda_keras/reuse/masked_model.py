"""The full-size masked model that defines modules."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from moda_keras.graph import Tensor, in_structure_of, layer_name, new_inputs
from moda_keras.layers.unit_mask import UnitMask
from moda_keras.modules.checks import chosen_modules
from moda_keras.modules.kept_outputs import slicer_of
from moda_keras.modules.module import Module
from moda_keras.modules.module_set import ModuleSet
from moda_keras.reuse.graph_copy import GraphCopy
from moda_keras.reuse.other_output import check_other, lump_dropped, outputs_with_other
from moda_keras.reuse.repair import build_repaired, require_data
from moda_keras.slicing import Slicer


def masked_model(
    modules: ModuleSet | Sequence[Module],
    classes: Sequence[int | str] | None = None,
    *,
    name: str | None = None,
    calibration_data: Any = None,
    repair: str = "least_squares",
    other: bool = False,
    keep_outputs: keras.Model | None = None,
) -> keras.Model:
    """Builds the full-size model that defines the modules of the chosen classes.

    Every unit outside the union of the modules is multiplied by zero at its hidden activation, and
    the chosen logits are read. In a recurrent layer, masked units are zero for the other units at
    the next time step too. `compose` gives the same function as a slim model.

    Args:
        modules: As of `compose`.
        classes: Class indices or names, at least one. Output `j` is `classes[j]`.
        name: Name of the new model.
        calibration_data: As of `compose`: the weights that stay are refitted.
        repair: As of `compose`.
        other: Whether to add the output "other", as of `compose` without `other_data`.
        keep_outputs: As of `compose`.

    Returns:
        A functional `keras.Model` with output `(batch, len(classes))`, one more with `other`, and a
        `UnitMask` behind every hidden activation. Its layers are copies.

    Raises:
        ValueError: As `compose`.

    Examples:
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
    require_data(calibration_data, repair)
    check_other(other)
    indices = modules.resolve_classes(classes)
    outputs = outputs_with_other(modules, indices) if other else indices
    slicer, units = slicer_of(modules, keep_outputs), modules.union(indices)
    graph = slicer.graph
    copies = GraphCopy(graph)
    masks = _mask_layers(slicer, units, copies.names)

    def mask_units(tensor, value):
        return masks[tensor](value) if tensor in masks else value

    inputs = new_inputs(slicer.model)
    values = graph.run(inputs, call=copies.call, transform=mask_units)
    chosen = keras.ops.take(values[graph.outputs[0]], outputs.tolist(), axis=-1)
    if other:
        chosen = lump_dropped(chosen, len(indices), copies.names)
    output = copies.activate(chosen)
    if calibration_data is None:
        copies.copy_weights()
    else:
        plan = slicer.plan(units, outputs, logits=other)
        _, weights = build_repaired(slicer, plan, calibration_data, repair)
        copies.copy_weights(weights)
    for step, rule in slicer.rules.items():
        if rule.feeds_back and step.outputs[0] in masks:
            mask = np.array(masks[step.outputs[0]].mask)
            copies.scale_weights(step.operation, rule.masked_weights(step, mask))
    found = [output, *(values[tensor] for tensor in graph.outputs[1:])]
    flat = [found[place] for place in slicer.places]
    return keras.Model(*in_structure_of(slicer.model, inputs, *flat), name=name)


def _mask_layers(
    slicer: Slicer, units: dict[str, np.ndarray], names: set[str]
) -> dict[Tensor, UnitMask]:
    """A `UnitMask` for every tensor that shows units of which `units` has a mask."""
    return {
        tensor: UnitMask(
            units[hidden],
            axis=tensor.channel_axis,
            name=layer_name(f"{hidden}_mask", names),
        )
        for tensor, hidden in slicer.hidden.items()
        if hidden in units
    }
