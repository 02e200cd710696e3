"""Modules as models of their own, which run side by side."""

from collections.abc import Sequence

import keras

from moda_keras.graph import (
    in_structure_of,
    inputs_and_outputs,
    new_inputs,
    to_functional,
    trace,
    unique_name,
)
from moda_keras.modules.checks import chosen_modules
from moda_keras.modules.module import Module
from moda_keras.modules.module_set import ModuleSet
from moda_keras.reuse.graph_copy import GraphCopy


def side_by_side(
    modules: ModuleSet | Sequence[Module] | Sequence[keras.Model],
    classes: Sequence[int | str] | None = None,
    *,
    name: str | None = None,
    logits: bool = False,
) -> keras.Model:
    """Builds a model that runs the module of each class as a model of its own.

    `compose` runs one model of the union of the units, in which each class sees the units of all.
    Here each class's logit comes from its own units alone, at the cost of the sum of the modules.

    Args:
        modules: As of `compose`; or a list of models with equal inputs and outputs (batch, K),
            which may come from different models, such as the second result of
            `moda_keras.methods.gradsplitter.GradSplitter.split`.
        classes: Class indices or names, at least one. Output `j` is `classes[j]`.
        name: Name of the new model.
        logits: Whether to leave out the original's output activation.

    Returns:
        A functional `keras.Model` with output (batch, len(classes)), of modules behind the
        original's output activation; of models, their outputs one after another.

    Raises:
        ValueError: As `compose`; if there are no logits to read; or if models are given together
            with `classes` or `logits`, or take different inputs.

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
        >>> both = mk.side_by_side(modules, [2, 0])
        >>> both.output_shape, both.count_params()  # twice (2 + 1) * 2 + (2 + 1) * 1
        ((None, 2), 18)

    Source: the composition of CNNSplitter (ASE 2022) and GradSplitter (TOSEM 2023).
    """
    if _are_models(modules):
        return _of_models(modules, classes, name, logits=logits)
    modules, classes = chosen_modules(modules, classes)
    indices = modules.resolve_classes(classes)
    parts = [modules[int(index)].to_model(f"module_{index}", logits=True) for index in indices]
    original = modules.model
    inputs = new_inputs(original)
    copies = GraphCopy(modules.slicer.graph)
    copies.names |= {part.name for part in parts}
    output = _concatenated(parts, in_structure_of(original, inputs, None)[0], copies.names)
    if not logits:
        output = copies.activate(output)
        copies.copy_weights()
    return keras.Model(*in_structure_of(original, inputs, output), name=name)


def _are_models(modules: object) -> bool:
    is_list = isinstance(modules, (list, tuple)) and len(modules) > 0
    return is_list and all(isinstance(each, keras.Model) for each in modules)


def _of_models(
    models: Sequence[keras.Model], classes: object, name: str | None, *, logits: bool
) -> keras.Model:
    if classes is not None or logits:
        raise ValueError(
            "Expected no `classes` and no `logits` with a list of models, whose outputs are taken "
            f"as they are. Received: classes={classes!r}, logits={logits!r}"
        )
    models = [to_functional(each) for each in models]
    first, *others = ([(tuple(t.shape), t.dtype) for t in each.inputs] for each in models)
    outputs = [[tuple(t.shape) for t in each.outputs] for each in models]
    if any(each != first for each in others) or any(
        len(each) != 1 or len(each[0]) != 2 for each in outputs
    ):
        raise ValueError(
            "Expected models with equal inputs and one output (batch, K) each. Received: inputs "
            f"{[first, *others]} and outputs {outputs}"
        )
    inputs = new_inputs(models[0])
    taken = {each.name for each in inputs}
    given = keras.tree.pack_sequence_as(inputs_and_outputs(models[0])[0], inputs)
    return keras.Model(given, _concatenated(_copies(models, taken), given, taken), name=name)


def _copies(models: Sequence[keras.Model], taken: set[str]) -> list[keras.Model]:
    """Models with weights of their own and names that differ."""
    made = []
    for model in models:
        graph = trace(model)
        copies = GraphCopy(graph)
        inputs = new_inputs(model)
        logits = graph.run(inputs, call=copies.call)[graph.outputs[0]]
        ends = in_structure_of(model, inputs, copies.activate(logits))
        copies.copy_weights()
        made.append(keras.Model(*ends, name=unique_name(model.name, taken)))
    return made


def _concatenated(
    models: Sequence[keras.Model], inputs: object, taken: set[str]
) -> keras.KerasTensor:
    outputs = [model(inputs) for model in models]
    if len(outputs) == 1:
        return outputs[0]
    return keras.layers.Concatenate(name=unique_name("side_by_side", taken))(outputs)
