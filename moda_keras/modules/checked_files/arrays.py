"""NumPy's archives, whose headers are checked before an array is made."""

import io
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from moda_keras.modules.checked_files.limits import require_within
from moda_keras.modules.checked_files.zip_archive import open_archive, require_member

# Booleans, integers and floats; no Python objects, texts, dates or complex numbers.
KINDS = "biuf"
# Whatever a file holds, counts and importances are 64-bit numbers in memory.
BYTES_IN_MEMORY = 8
MAX_HEADER_BYTES = 4096
_READ_HEADER = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_arrays(
    content: bytes, dimensions: Mapping[str, int], classes: int, limit: int
) -> dict[str, np.ndarray]:
    """Arrays of an .npz file, one row for each class.

    Args:
        content: The file.
        dimensions: Number of dimensions of each array by name. Other arrays are not read.
        classes: The length of every array's first dimension.
        limit: The most bytes that the arrays may take together.

    Returns:
        Dict from name to bool, integer or float array.

    Raises:
        ValueError: If an array is missing, has another shape or data type, or there are too many
            bytes.
        zipfile.BadZipFile: If the content is no zip archive, or damaged.
    """
    with open_archive(io.BytesIO(content), limit) as archive:
        elements = sum(
            _checked_size(archive, name, dimension, classes)
            for name, dimension in dimensions.items()
        )
        require_within("its arrays take", BYTES_IN_MEMORY * elements, limit)
        return {name: _read(archive, name) for name in dimensions}


def read_all_arrays(path: Path, limit: int) -> dict[str, np.ndarray]:
    """All arrays of an .npz file, which may hold texts too.

    Args:
        path: The file.
        limit: The most bytes that the arrays may take together.

    Returns:
        Dict from name to bool, integer, float or text array.

    Raises:
        ValueError: If an array has another data type, or there are too many bytes.
        zipfile.BadZipFile: If the file is no zip archive, or damaged.
    """
    with open_archive(path, limit) as archive:
        names = [each.removesuffix(".npy") for each in archive.namelist()]
        for name in names:
            _declared(archive, name, KINDS + "SU")
        return {name: _read(archive, name) for name in names}


def _checked_size(archive: zipfile.ZipFile, name: str, dimension: int, classes: int) -> int:
    """The number of elements of an array, if it has a row for each class."""
    shape = _declared(archive, name, KINDS)
    if len(shape) != dimension or shape[0] != classes:
        expected = "(classes,)" if dimension == 1 else "(classes, units)"
        raise ValueError(
            f"its array {name!r} is of shape {shape} instead of {expected}, with {classes} classes"
        )
    return math.prod(shape)


def _declared(archive: zipfile.ZipFile, name: str, kinds: str) -> tuple[int, ...]:
    """The shape in the header of an array, if it is one of plain values and the size fits."""
    require_member(archive, f"{name}.npy")
    with archive.open(f"{name}.npy") as file:
        version = np.lib.format.read_magic(file)
        if version not in _READ_HEADER:
            raise ValueError(f"its array {name!r} is of the format version {version}")
        shape, _, dtype = _READ_HEADER[version](file, max_header_size=MAX_HEADER_BYTES)
        header = file.tell()
    if dtype.kind not in kinds:
        hint = ", which needs pickle" if dtype.hasobject else ""
        raise ValueError(f"its array {name!r} holds {dtype}{hint}, and no plain numbers")
    size = archive.getinfo(f"{name}.npy").file_size
    if min(shape, default=0) < 0 or header + math.prod(shape) * dtype.itemsize != size:
        raise ValueError(f"its array {name!r} declares the shape {shape} in {size:,} bytes")
    return shape


def _read(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(f"{name}.npy") as file:
        return np.lib.format.read_array(file, allow_pickle=False, max_header_size=MAX_HEADER_BYTES)
