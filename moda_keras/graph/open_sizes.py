"""Operations that name the batch size or a length, and what they are for any size."""

from typing import Any

import keras

from moda_keras.graph.graph import Step, Tensor
from moda_keras.graph.operations import kind_of
from moda_keras.layers.first_rows import FirstRows
from moda_keras.layers.over_batch import OverBatch

# In place of an unknown batch size and of unknown lengths: each twice, to see what depends on it.
# The other lengths of a call are the same both times.
BATCH_SIZES, LENGTHS = (2, 3), (5, 7)
# By the kind of operation, the attribute that may name them.
_PLACES = {
    "BroadcastTo": "shape", "Repeat": "repeats", "Reshape": "newshape", "Slice": "shape",
    "Tile": "repeats",
}  # fmt: skip


def differ_in_sizes(operation: Any, first: dict[str, Any], second: dict[str, Any]) -> str | None:
    """Where the settings of an operation name the batch size, at first, or a length.

    Args:
        operation: An operation behind a call of `keras.ops`.
        first: Its attributes, recorded with the first of `BATCH_SIZES` and `LENGTHS`.
        second: Those with the second.

    Returns:
        The name of the attribute; None if it differs in something else, or in other attributes.
    """
    place = _place(operation)
    if place is None or first.get("axis", 0) != 0:
        return None
    one, other = (_as_tuple(each[place]) for each in (first, second))
    pairs = list(zip(one, other, strict=False))
    is_open = [
        pair == LENGTHS or (pair == BATCH_SIZES and axis == 0) for axis, pair in enumerate(pairs)
    ]
    is_fixed = [pair[0] == pair[1] for pair in pairs]
    all_fit = all(each or fixed for each, fixed in zip(is_open, is_fixed, strict=True))
    return place if len(one) == len(other) and all_fit else None


def names_unknown_size(operation: Any) -> bool:
    """Whether an operation was recorded with a size that is not known, with which it cannot run."""
    place = _place(operation)
    return place is not None and None in _as_tuple(getattr(operation, place))


def for_any_size(
    operation: Any,
    inputs: list[Any],
    output: Tensor,
    source: Tensor,
    lengths: list[tuple[Tensor, int]],
) -> Step | None:
    """The step that does for any size what an operation does for the one that it names.

    Args:
        operation: An operation that names sizes.
        inputs: Its arguments, flat; open axes of tensors have length None.
        output: What comes out, likewise.
        source: An input of the model, whose batch size it is.
        lengths: The inputs of the call with an unknown length, each with its axis.

    Returns:
        The step; None if there is none.
    """
    values, *others = inputs
    if not isinstance(values, Tensor):
        return None
    name, dtype = operation.name, output.keras_tensor.dtype
    if kind_of(operation) == "Slice":
        is_like = values.shape[1:] == output.shape[1:] and None not in values.shape
        if not is_like or any(others) or len(lengths) != 1:
            return None
        reference, axis = lengths[0]
        return Step(FirstRows(axis, dtype=dtype, name=name), (values, reference), {}, [output])
    shape = output.shape[1:]
    if kind_of(operation) == "Reshape":
        if values.shape[0] is not None or shape.count(None) > 1:
            return None
        return Step(_reshape(values, shape, name), (values,), {}, [output])
    has_axis = len(values.shape) == len(output.shape)
    if output.shape[0] is not None or values.shape != ((1, *shape) if has_axis else shape):
        return None
    layer = OverBatch(new_axis=not has_axis, dtype=dtype, name=name)
    return Step(layer, (values, source), {}, [output])


def _reshape(values: Tensor, shape: tuple, name: str) -> Any:
    if None in shape:
        target = tuple(-1 if length is None else length for length in shape)
        dtype = values.keras_tensor.dtype
        return keras.layers.Reshape(target, dtype=dtype, autocast=False, name=name)
    spec = keras.KerasTensor(values.shape, dtype=values.keras_tensor.dtype)
    operation = keras.ops.reshape(spec, (-1, *shape))._keras_history.operation
    operation.name = name
    return operation


def _place(operation: Any) -> str | None:
    is_layer = isinstance(operation, keras.layers.Layer)
    return None if is_layer else _PLACES.get(kind_of(operation))


def _as_tuple(setting: Any) -> tuple:
    return tuple(setting) if isinstance(setting, (list, tuple)) else (setting,)
