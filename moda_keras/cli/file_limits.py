"""How much memory the files that a command reads may take."""

from contextvars import ContextVar
from pathlib import Path

from moda_keras.modules.checked_files.limits import byte_limit

# The option --max-bytes; None for a limit by the size of the file.
max_bytes: ContextVar[int | None] = ContextVar("max_bytes", default=None)


def limit_of(path: Path) -> int:
    """The most bytes that the parts of a file may take in memory."""
    return byte_limit(path, max_bytes.get())
