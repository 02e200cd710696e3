"""The attributes in HDF5 files: what they would take in memory is checked before they are read."""

import math
import mmap
from collections.abc import Iterable
from pathlib import Path

import h5py  # Keras needs it

from moda_keras.modules.checked_files.limits import require_within

# Texts of any length are in heaps, which begin with this and their size.
_HEAP = b"GCOL\x01\x00\x00\x00"
_SIZE_BYTES = 8
MAX_HEAPS = 100_000
# One attribute is read after the other, and the sizes of texts are estimates.
TIMES_IN_ALL = 16


def check_attributes(path: Path, objects: Iterable[h5py.HLObject], limit: int) -> None:
    """Checks what the attributes of objects would take in memory.

    A list of texts can name one long text many times, so that each counts as the largest heap.

    Args:
        path: The HDF5 file.
        objects: The objects in it.
        limit: The most bytes of one attribute.

    Raises:
        ValueError: If one of them, or all together, would take too much.
    """
    longest = _largest_heap(path)
    total = 0
    for each in objects:
        for name in each.attrs:
            size = _size_of(each.attrs.get_id(name), longest)
            require_within(f"its attribute {ascii(name)[:100]} takes up to", size, limit)
            total += size
    require_within("its attributes take up to", total, TIMES_IN_ALL * limit)


def _size_of(attribute: h5py.h5a.AttrID, longest: int) -> int:
    if attribute.shape is None:
        return 0
    bytes_each = longest if attribute.dtype.hasobject else attribute.dtype.itemsize
    return math.prod(attribute.shape) * bytes_each


def _largest_heap(path: Path) -> int:
    """The bytes of the largest heap in a file, and at most those of the file."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        largest, place = 0, content.find(_HEAP)
        for _ in range(MAX_HEAPS):
            if place < 0:
                return largest
            start = place + len(_HEAP)
            size = int.from_bytes(content[start : start + _SIZE_BYTES], "little")
            largest = max(largest, min(size, len(content)))
            place = content.find(_HEAP, start)
    raise ValueError(f"it has more than {MAX_HEAPS:,} heaps")
