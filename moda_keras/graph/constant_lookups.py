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
        if type(each) is keras.layers.Embedding and each.built and not each.mask_zero
    ]
    for table in tables:
        vars(table)["call"] = _symbolic_call(table, held)
    try:
        yield held
    finally:
        for table in tables:
            del vars(table)["call"]


def _symbolic_call(table: keras.layers.Embedding, held: dict[int, tuple[Any, Any]]) -> Callable:
    """What to call in place of `table.call`, which sees tensors with values alone."""

    def call(indices: Any) -> keras.KerasTensor:
        dtype = keras.backend.standardize_dtype(indices.dtype)
        symbolic = SymbolicTensor(tuple(indices.shape), dtype=dtype)
        held[id(symbolic)] = (symbolic, indices)
        return table(symbolic)

    return call
