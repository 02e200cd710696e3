"""Symbolic tensors in the place of the weights and constants that a layer holds.

A `call` that computes with weights before it reaches its inputs, as `ops.exp(self.log_scale) * x`,
would give values that are no part of a graph. With symbolic tensors in their place, it does.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras


class SymbolicTensor(keras.KerasTensor):
    """A symbolic tensor that takes a slice, None or an ellipsis alone as its index, as tensors do.

    Keras's own takes them in tuples.
    """

    def __getitem__(self, key: Any) -> keras.KerasTensor:
        is_alone = key is None or key is Ellipsis or isinstance(key, slice)
        return super().__getitem__((key,) if is_alone else key)


def holds_tensors(layer: keras.layers.Layer) -> bool:
    """Whether weights or tensors are attributes of a layer itself."""
    return any(map(_is_held, vars(layer).values()))


@contextlib.contextmanager
def symbolic_tensors(layer: keras.layers.Layer) -> Iterator[dict[int, tuple[Any, Any]]]:
    """Puts symbolic tensors in the place of the weights and tensors that a layer holds.

    Args:
        layer: A built layer; it is as before in the end.

    Yields:
        By the identity of a symbolic tensor, itself and what it stands for: a variable or a tensor.
    """
    held = {key: value for key, value in vars(layer).items() if _is_held(value)}
    made = {id(value): _stand_in(layer, value) for value in held.values()}
    stands_for = {id(made[id(value)]): (made[id(value)], value) for value in held.values()}
    vars(layer).update({key: made[id(value)] for key, value in held.items()})
    try:
        yield stands_for
    finally:
        vars(layer).update(held)


def _is_held(value: Any) -> bool:
    if isinstance(value, keras.Variable):
        return not isinstance(value, keras.random.SeedGenerator)
    return keras.ops.is_tensor(value) and not isinstance(value, keras.KerasTensor)


def _stand_in(layer: keras.layers.Layer, value: Any) -> keras.KerasTensor:
    dtype = keras.backend.standardize_dtype(value.dtype)
    # As with a variable in a `call`, where Keras casts it.
    if isinstance(value, keras.Variable) and "float" in dtype:
        dtype = layer.compute_dtype
    return SymbolicTensor(tuple(value.shape), dtype=dtype)
