"""A matrix of many classes as an image: a cell is a pixel, and the colour's opacity its value."""

import base64
import struct
import zlib

import numpy as np


def matrix_as_png(values: np.ndarray, colour: tuple[int, int, int]) -> str:
    """The matrix as a PNG in a data URI, to be seen on light and on dark ground.

    Args:
        values: Float array (rows, columns) in [0, 1]; NaN is left out.
        colour: Red, green and blue, 0 to 255.

    Returns:
        Str that begins with "data:image/png;base64,".

    Source: Portable Network Graphics (third edition), W3C.
    """
    opacity = np.nan_to_num(np.clip(values, 0, 1) * 255).round().astype("uint8")
    # Indexed colours, one for every opacity, of a table and its transparency.
    header = struct.pack(">IIBBBBB", opacity.shape[1], opacity.shape[0], 8, 3, 0, 0, 0)
    lines = np.pad(opacity, ((0, 0), (1, 0)))  # each line begins with its filter, 0
    chunks = {
        b"IHDR": header,
        b"PLTE": bytes(colour) * 256,
        b"tRNS": bytes(range(256)),
        b"IDAT": zlib.compress(lines.tobytes(), 9),
        b"IEND": b"",
    }
    content = b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks.items())
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")


def _chunk(kind: bytes, data: bytes) -> bytes:
    check = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)
