"""Lookups of constant indices, as of positions, recorded like those of an input."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras

from moda_keras.graph.held_tensors import SymbolicTensor


@contextlib.contextmanager
def symbolic_lookups(layer: keras.layers.Layer) -> Iterator[dict[int, tuple[Any, Any]]]:
    """Makes each `Embedding` inside a layer symbolic on constants too.

    A layer that is called on a tensor with values, such as `ops.arange(length)`, runs at once, and
    the result would be no part of a graph.

    Args:
        layer: A built layer; it is as before in the end.

    Yields:
        By the identity of a symbolic tensor, itself and the indices that it stands for.
    """
    held: dict[int, tuple[Any, Any]] = {}
    tables = [
        each
        for each in layer._flatten_layers(include_self=False, recursive=True)
        if type(each) is keras.layers.Embedding and each.built
    ]
    for table in tables:
        vars(table).update(_symbolic_methods(table, held))
    try:
        yield held
    finally:
        for table in tables:
            del vars(table)["call"], vars(table)["symbolic_call"]


def _symbolic_methods(
    table: keras.layers.Embedding, held: dict[int, tuple[Any, Any]]
) -> dict[str, Callable]:
    call, symbolic_call = table.call, table.symbolic_call
    is_inferring: list[bool] = []  # not empty while Keras infers the output's shape by a call

    def infer(*args: Any, **kwargs: Any) -> Any:
        is_inferring.append(True)
        try:
            return symbolic_call(*args, **kwargs)
        finally:
            is_inferring.pop()

    def look_up(indices: Any) -> Any:
        if is_inferring:
            return call(indices)
        dtype = keras.backend.standardize_dtype(indices.dtype)
        symbolic = SymbolicTensor(tuple(indices.shape), dtype=dtype)
        held[id(symbolic)] = (symbolic, indices)
        return infer(symbolic)

    return {"call": look_up, "symbolic_call": infer}
