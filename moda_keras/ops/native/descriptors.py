"""Arrays as the native operations read them: an address, extents and strides in elements."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from moda_keras.ops.native.interface import ACTIVATION, DTYPE_CODES, POSITION_AXES

NO_ARRAY = (0, 0, 0, 0, 0, 0, 0, (1,) * POSITION_AXES, (0,) * POSITION_AXES)


class Array(NamedTuple):
    """An array in memory.

    Attributes:
        address: Of the first element; 0 for none.
        strides: Of each axis, in elements.
    """

    address: int
    strides: Sequence[int]


def describe(
    arrays: Sequence[Array], dtype: str, shape: Sequence[int], axis: int, non_negative: bool
) -> list[tuple] | None:
    """What the structs of an activation, and of arrays like it, hold.

    Args:
        arrays: Arrays of the same shape and dtype: an activation, perhaps its gradient.
        dtype: Name of the element type.
        shape: (B, ..., D), the units on `axis`.
        axis: Axis of the units, positive.
        non_negative: Whether it is known that no element is negative.

    Returns:
        The fields of `interface.ACTIVATION` for each array, or None where the native operations
        cannot take it: no element, or positions that do not fold into three axes.
    """
    strides = tuple(tuple(array.strides) for array in arrays)
    rest = _without_address(strides, DTYPE_CODES[dtype], tuple(shape), axis, non_negative)
    if rest is None:
        return None
    return [(array.address, *row) for array, row in zip(arrays, rest, strict=True)]


# A model's shapes and strides are the same in every step.
@functools.lru_cache(maxsize=4096)
def _without_address(
    strides: tuple[tuple[int, ...], ...],
    dtype_code: int,
    shape: tuple[int, ...],
    axis: int,
    non_negative: bool,
) -> list[tuple] | None:
    positions = [i for i in range(1, len(shape)) if i != axis]
    folded = _fold([(shape[i], tuple(own[i] for own in strides)) for i in positions])
    if len(folded) > POSITION_AXES or 0 in shape:
        return None
    padded = [(1, (0,) * len(strides))] * (POSITION_AXES - len(folded)) + folded
    extents = tuple(extent for extent, _ in padded)
    return [
        (
            dtype_code,
            int(non_negative),
            shape[0],
            shape[axis],
            own[axis],
            own[0],
            extents,
            tuple(steps[i] for _, steps in padded),
        )
        for i, own in enumerate(strides)
    ]


def structs(descriptions: Sequence[tuple]) -> np.ndarray:
    """Descriptions as the array of structs that the libraries take."""
    return np.array(list(descriptions), dtype=ACTIVATION)


def _fold(positions: list[tuple[int, tuple[int, ...]]]) -> list[tuple[int, tuple[int, ...]]]:
    """Extents and strides, slowest first; axes that follow each other in all arrays made one."""
    ordered = sorted((p for p in positions if p[0] != 1), key=lambda p: p[1], reverse=True)
    folded: list[tuple[int, tuple[int, ...]]] = []
    for extent, strides in ordered:
        if folded and folded[-1][1] == tuple(extent * stride for stride in strides):
            folded[-1] = (folded[-1][0] * extent, strides)
        else:
            folded.append((extent, strides))
    return folded
