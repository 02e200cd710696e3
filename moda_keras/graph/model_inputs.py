"""Restores the nested structure of a model's inputs and outputs."""

from typing import Any

import keras

from moda_keras.graph.functional_models import Functional


def inputs_and_outputs(model: keras.Model) -> tuple[Any, Any]:
    """Inputs and outputs as the user gave them: a tensor, list, or dict."""
    if isinstance(model, Functional):
        return model.input, model.output
    return tuple(t[0] if len(t) == 1 else t for t in (model.inputs, model.outputs))


def new_inputs(model: keras.Model) -> list[keras.KerasTensor]:
    """Inputs of a new model: as those of `model`, flat."""
    return [
        keras.Input(
            batch_shape=t.shape,
            dtype=t.dtype,
            sparse=t.sparse,
            name=t.name,
            optional=is_optional(t),
        )
        for t in model.inputs
    ]


def is_optional(tensor: keras.KerasTensor) -> bool:
    """Whether a model's input may be None."""
    return tensor._keras_history.operation.optional


def in_structure_of(model: keras.Model, inputs: list, *outputs: Any) -> tuple[Any, Any]:
    """Inputs and outputs in the structure that `model` takes and gives: tensor, list or dict."""
    given, returned = inputs_and_outputs(model)
    packed = keras.tree.pack_sequence_as(given, inputs)
    return packed, keras.tree.pack_sequence_as(returned, list(outputs))


def entry_of(model: keras.Model) -> keras.Model:
    """Brings inputs into the order, dtypes and ranks of a model's inputs, as the model itself does.

    Args:
        model: A built Functional or Sequential model.

    Returns:
        A model from the inputs of `model`, in its structure, to the same tensors as a flat list.
    """
    return Functional(inputs_and_outputs(model)[0], model.inputs, name="entry")
