"""How much memory the content of a file may take."""

from numbers import Integral
from pathlib import Path
from typing import Any

# Files hold weights as they are in memory, and counts compressed: a file of a model takes about its
# own size, one of counts of many classes a few times as much.
BASE_BYTES = 256 * 2**20
TIMES_THE_FILE = 8


def byte_limit(path: Path, max_bytes: Any) -> int:
    """The most bytes that the parts of a file may have when they are unpacked.

    Args:
        path: The file.
        max_bytes: The argument of `load_modules`; None for 256 MiB and 8 times the file's size.

    Returns:
        Int.

    Raises:
        ValueError: If `max_bytes` is neither None nor a positive integer.
    """
    if max_bytes is None:
        return BASE_BYTES + TIMES_THE_FILE * path.stat().st_size
    if not isinstance(max_bytes, Integral) or isinstance(max_bytes, bool) or max_bytes <= 0:
        raise ValueError(
            "Expected `max_bytes` to be a positive integer, or None for a limit by the size of the "
            f"file. Received: max_bytes={max_bytes!r}"
        )
    return int(max_bytes)


def require_within(what: str, size: int, limit: int) -> None:
    """Raises a ValueError if a part of a file would take more than the limit.

    Args:
        what: The part, with a verb: "its weights take".
        size: Bytes.
        limit: Bytes.
    """
    if size > limit:
        raise ValueError(
            f"{what} {size:,} bytes, over the limit of {limit:,}. If you trust the file, pass a "
            "higher `max_bytes` to `load_modules`, or --max-bytes to the command"
        )
