"""One way to write a file, whole or not at all, and one to read a table."""

import contextlib
import csv
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(
    path: str | Path, *, companions: bool = False, overwrite: bool = True
) -> Iterator[Path]:
    """Gives a path to write to, and moves the result to `path` when it is complete.

    A crash, a full disk or an exception leaves an existing file unchanged.

    Args:
        path: The file to replace or create. Missing folders are created.
        companions: Whether other files written to the same temporary folder, such as the weights of
            an exported model, are moved beside `path`. The file itself is moved last.
        overwrite: Whether companions may replace existing files.

    Yields:
        A path with the same name in a temporary folder beside `path`.

    Raises:
        FileExistsError: If a companion exists and `overwrite` is False; nothing is moved then.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
        beside = Path(folder) / path.name
        yield beside
        others = sorted(set(Path(folder).iterdir()) - {beside}) if companions else []
        for each in others:
            if not overwrite and (path.parent / each.name).exists():
                raise FileExistsError(f"The file {str(path.parent / each.name)!r} exists")
        for each in (*others, beside):
            _flush_to_disk(each)
            os.replace(each, path.parent / each.name)


def write_text(path: str | Path, text: str) -> None:
    """Writes a text file in UTF-8, whole or not at all.

    Args:
        path: The file to replace or create.
        text: Its content; line ends are written as they are.
    """
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8", newline="")


def read_table(path: str | Path) -> list[dict[str, str | None]]:
    """The rows of a CSV file with a header.

    Args:
        path: The file.

    Returns:
        List of dicts; None for fields that a row ends before.

    Raises:
        ValueError: If the file is no text, or a row has more fields than the header.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"Expected a CSV file, text in UTF-8. Received: {str(path)!r} ({error})"
        ) from error
    for number, row in enumerate(rows, start=1):
        if None in row:
            raise ValueError(
                f"Expected rows of {len(row) - 1} fields, as many as the header of {str(path)!r} "
                f"has. Received: {len(row[None])} more in row {number}"
            )
    return rows


def _flush_to_disk(path: Path) -> None:
    """Without this, a power cut after the rename may leave an empty file."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        os.fsync(file.fileno())
