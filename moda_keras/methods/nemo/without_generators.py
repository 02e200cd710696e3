"""The modules of a `NeMoModel` as modules of the model that it was made from."""

import keras

from moda_keras.graph import Graph, Step, find_hidden_activations, in_structure_of, new_inputs
from moda_keras.layers.modular_activation import ModularActivation
from moda_keras.modules.module_set import ModuleSet
from moda_keras.reuse.graph_copy import GraphCopy


def without_generators(modules: ModuleSet) -> ModuleSet:
    """The modules of a `NeMoModel` without mask generators, as the authors reuse them.

    The new model has the architecture of the one that the `NeMoModel` was made from, and the
    weights of the `NeMoModel`. Units are in the same modules, but nothing scales them any longer:
    train a composed model for some epochs, as the authors do.

    Args:
        modules: Modules of a `NeMoModel`, from `moda_keras.decompose`.

    Returns:
        A `ModuleSet` of the new model. Hidden activations without masks keep all their units.

    Raises:
        ValueError: If the modules are not those of a `NeMoModel`.

    Examples:
        >>> import keras
        >>> import numpy as np
        >>> import moda_keras as mk
        >>> plain = keras.Sequential([
        ...     keras.Input((4,)),
        ...     keras.layers.Dense(8, activation="relu", name="features"),
        ...     keras.layers.Dense(3, name="logits"),
        ... ])
        >>> model = mk.methods.nemo.NeMoModel.from_model(plain)
        >>> modules = mk.decompose(model, np.eye(3, 4), np.arange(3), verbose=0)
        >>> list(mk.methods.nemo.without_generators(modules).units)
        ['features']
    """
    if not isinstance(modules, ModuleSet):
        raise ValueError(
            f"Expected `modules` to be a `ModuleSet`. Received: modules of type {type(modules)}"
        )
    graph = modules.slicer.graph
    gates = _gates(graph)
    if not gates:
        raise ValueError(
            "Expected modules of a `NeMoModel`, whose units are multiplied by masks. Received: "
            f"modules of {modules.model.name!r}, which has no masks"
        )
    copies = GraphCopy(graph)

    def call(step, args, kwargs):
        if step.outputs[0] not in gates:
            return copies.call(step, args, kwargs)
        values, _ = args[0]
        return values

    inputs = new_inputs(modules.model)
    values = graph.run(inputs, call=call)
    output = copies.activate(values[graph.outputs[0]])
    copies.copy_weights()
    model = keras.Model(*in_structure_of(modules.model, inputs, output), name=modules.model.name)
    names = {id(hidden.tensor): hidden.name for hidden in find_hidden_activations(model)}
    units = {names[id(values[t])]: modules.units[mask] for t, mask in gates.items()}
    return ModuleSet.from_units(model, units, modules.class_names)


def _gates(graph: Graph) -> dict:
    """The tensors of gated activations, each with the name of its mask."""
    readers: dict = {}
    for step in graph.steps:
        for tensor in step.inputs:
            readers.setdefault(tensor, []).append(step)
    found = {}
    for step in graph.steps:
        if isinstance(step.operation, ModularActivation):
            gate = _gate_behind(step, readers)
            if gate is not None:
                found[gate.outputs[0]] = step.name
    return found


def _gate_behind(mask: Step, readers: dict) -> Step | None:
    """The product that a mask goes into, perhaps through a change of its shape."""
    step = mask
    while len(following := readers.get(step.outputs[0], [])) == 1:
        step = following[0]
        if isinstance(step.operation, keras.layers.Multiply):
            return step
        if not isinstance(step.operation, keras.layers.Reshape):
            return None
    return None
