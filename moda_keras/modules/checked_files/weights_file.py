"""HDF5 files of weights, whose headers are checked before any weight is read."""

import math
from collections.abc import Iterator
from typing import BinaryIO

import h5py  # Keras needs it

from moda_keras.messages import shortened
from moda_keras.modules.checked_files.limits import require_within

MAX_OBJECTS = 100_000


def check_weights_file(file: BinaryIO, limit: int) -> int:
    """Checks what the weights of an HDF5 file would take in memory.

    Compressed weights, and those that are nowhere in the file and have a fill value, declare their
    real size.

    Args:
        file: An HDF5 file.
        limit: The most bytes.

    Returns:
        The bytes.

    Raises:
        ValueError: If weights are outside the file or have no fixed size, or there are too many
            bytes or objects.
        OSError, RuntimeError, KeyError: If the file is damaged.
    """
    with h5py.File(file, "r") as opened:
        objects = objects_of(opened)
        size = sum(size_of_dataset(each) for each in objects if isinstance(each, h5py.Dataset))
    require_within("its weights take", size, limit)
    return size


def objects_of(root: h5py.Group) -> Iterator[h5py.HLObject]:
    """The groups, datasets and types in a group, each once.

    Args:
        root: A group, or an open file.

    Yields:
        The objects.

    Raises:
        ValueError: If there is a link, which may lead to another file, or there are too many.
    """
    remaining, seen = [root], set()
    while remaining:
        group = remaining.pop()
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ValueError(f"its weights have a link, {shortened(repr(name), 100)}")
            item = group[name]
            place = h5py.h5o.get_info(item.id).addr
            if place in seen:
                continue
            seen.add(place)
            if len(seen) > MAX_OBJECTS:
                raise ValueError(f"its weights are more than {MAX_OBJECTS:,} objects")
            if isinstance(item, h5py.Group):
                remaining.append(item)
            yield item


def size_of_dataset(dataset: h5py.Dataset) -> int:
    """Bytes of a dataset in memory, or of one of its chunks where that is larger.

    Raises:
        ValueError: If it is outside the file or has no fixed size.
    """
    if dataset.is_virtual or dataset.external:
        raise ValueError("its weights are in another file")
    # Texts and arrays of any length say nothing about it.
    if dataset.dtype.hasobject or dataset.shape is None:
        raise ValueError(f"its weights hold {dataset.dtype}, and no plain numbers")
    elements = max(math.prod(dataset.shape), math.prod(dataset.chunks or (0,)))
    return elements * dataset.dtype.itemsize
