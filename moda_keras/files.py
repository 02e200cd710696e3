"""One way to write a file: whole or not at all."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Gives a path to write to, and puts what was written there in the place of `path`.

    A crash, a full disk or an exception leaves an old file as it was.

    Args:
        path: The file to replace or create. Missing folders are created.

    Yields:
        A path with the same suffix in a temporary folder beside `path`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
        beside = Path(folder) / path.name
        yield beside
        _flush_to_disk(beside)
        os.replace(beside, path)


def write_text(path: str | Path, text: str) -> None:
    """Writes a text file in UTF-8, whole or not at all.

    Args:
        path: The file to replace or create.
        text: Its content; line ends are written as they are.
    """
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8", newline="")


def _flush_to_disk(path: Path) -> None:
    """Without this, a power cut after the rename may leave an empty file."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        os.fsync(file.fileno())
