"""Operations that name the batch size, and what they are for any batch size."""

from typing import Any

import keras

from moda_keras.graph.graph import Step, Tensor
from moda_keras.graph.operations import kind_of
from moda_keras.layers.over_batch import OverBatch

# By the kind of operation, the attribute whose first entry may be the batch size.
_PLACES = {"BroadcastTo": "shape", "Repeat": "repeats", "Reshape": "newshape", "Tile": "repeats"}


def without_batch_size(operation: Any, settings: dict[str, Any], size: int | None) -> dict:
    """The settings of an operation, with None for the batch size if it comes first.

    Args:
        operation: An operation behind a call of `keras.ops`.
        settings: Its attributes.
        size: The batch size.

    Returns:
        The settings; the same if they do not begin with the batch size.
    """
    place = _PLACES.get(kind_of(operation))
    if place is None or size is None:
        return settings
    lengths = _lengths(settings[place])
    if not lengths or lengths[0] != size or settings.get("axis", 0) != 0:
        return settings
    return {**settings, place: (None, *lengths[1:])}


def for_any_batch(
    operation: Any, values: Tensor, output: Tensor, source: Tensor, name: str
) -> Step | None:
    """The step that does for any batch size what an operation does for the one that it names.

    Args:
        operation: An operation whose settings begin with the batch size.
        values: What goes in; a batch axis has length None.
        output: What comes out, its batch axis of length None.
        source: An input of the model, whose batch size it is.
        name: Name of the step.

    Returns:
        The step; None if there is none.
    """
    lengths = output.shape[1:]
    if kind_of(operation) == "Reshape":
        if values.shape[0] is not None or None in lengths:
            return None
        spec = keras.KerasTensor(values.shape, dtype=values.keras_tensor.dtype)
        reshape = keras.ops.reshape(spec, (-1, *lengths))._keras_history.operation
        return Step(reshape, (values,), {}, [output], name)
    has_axis = len(values.shape) == len(output.shape)
    is_repeated = values.shape == ((1, *lengths) if has_axis else lengths)
    if not is_repeated or None in lengths:
        return None
    layer = OverBatch(new_axis=not has_axis, dtype=output.keras_tensor.dtype, name=name)
    return Step(layer, (values, source), {}, [output])


def _lengths(setting: Any) -> tuple:
    return tuple(setting) if isinstance(setting, (list, tuple)) else (setting,)
