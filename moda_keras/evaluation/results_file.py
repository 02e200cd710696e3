"""A CSV file that grows row by row and survives a kill of its process."""

import csv
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from moda_keras.files import ModuleFileError, flush_folder, read_table, reading, write_text
from moda_keras.messages import listed

# Of the first line of a file with other columns.
MOST_SHOWN = 1000


class ResultsFile:
    """A CSV file to which rows are appended, one row per key.

    Rows are on disk when `append` returns. A process that is killed while writing leaves at most
    one incomplete line at the end, which is dropped when the file is next opened. A key that is
    present is never written again.

    Args:
        path: The file; created with its folder if it does not exist.
        columns: Names of the columns.
        key: Names of the columns that identify a row.

    Raises:
        ModuleFileError: If the file has other columns, or is no text.

    Examples:
        >>> import tempfile
        >>> from moda_keras.experiments import ResultsFile
        >>> folder = tempfile.TemporaryDirectory()
        >>> results = ResultsFile(f"{folder.name}/results.csv", ["seed", "accuracy"], ["seed"])
        >>> results.append([{"seed": 0, "accuracy": 0.5}, {"seed": 1, "accuracy": 0.75}])
        >>> results.append([{"seed": 1, "accuracy": 0.75}])
        >>> results.rows()
        [{'seed': 0, 'accuracy': 0.5}, {'seed': 1, 'accuracy': 0.75}]
        >>> folder.cleanup()
    """

    def __init__(self, path: str | Path, columns: Sequence[str], key: Sequence[str]):
        self.path = Path(path)
        self.columns = list(columns)
        self.key = list(key)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._drop_torn_line()
        self._check_columns()
        self._present = {self._key_of(row) for row in self.rows()}

    def rows(self) -> list[dict[str, Any]]:
        """All rows as dicts; numbers are int or float, empty fields None."""
        return read_rows(self.path)

    def has(self, **key: Any) -> bool:
        """Whether there is a row with this key."""
        return self._key_of(key) in self._present

    def append(self, rows: Iterable[dict[str, Any]]) -> None:
        """Writes rows and waits until they are on disk. Rows whose key is present are skipped.

        Args:
            rows: Dicts with a value for every column.
        """
        lines = io.StringIO()
        writer = csv.DictWriter(lines, self.columns, lineterminator="\n")
        added: set[tuple[str, ...]] = set()
        for row in rows:
            if self._key_of(row) not in self._present | added:
                added.add(self._key_of(row))
                writer.writerow({name: _written(row[name]) for name in self.columns})
        self._write(lines.getvalue())
        self._present |= added

    def _key_of(self, row: dict[str, Any]) -> tuple[str, ...]:
        return tuple(str(_written(row[name])) for name in self.key)

    def _write(self, text: str) -> None:
        if not text:
            return
        is_new = not self.path.exists()
        try:
            with self.path.open("a", newline="", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from error
        if is_new:
            flush_folder(self.path.parent)

    def _drop_torn_line(self) -> None:
        if not self.path.exists():
            return
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with self.path.open("r+b") as file:
                file.truncate(whole)
                os.fsync(file.fileno())

    def _check_columns(self) -> None:
        header = ",".join(self.columns) + "\n"
        if not self.path.exists() or not self.path.stat().st_size:
            self._write(header)
            return
        expected = "a CSV file, text in UTF-8"
        with reading(self.path, expected), self.path.open(encoding="utf-8") as file:
            found = file.readline(len(header) + MOST_SHOWN)
        if found != header:
            raise ModuleFileError(
                f"Expected the columns {self.columns} in {str(self.path)!r}. Received: a file with "
                f"{listed(found.strip().split(','))}, of another version or experiment. Choose "
                "another folder, or remove the file",
                self.path,
            )


def read_rows(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a results file as dicts.

    Args:
        path: The file.

    Returns:
        List of dicts; numbers are int or float, empty fields None.

    Raises:
        ModuleFileError: If the file is no text, or a row has more or fewer fields than the header.
    """
    rows = read_table(path)
    short = [number for number, row in enumerate(rows, start=1) if None in row.values()]
    if short:
        raise ModuleFileError(
            f"Expected rows with all fields of the header of {str(path)!r}. Received: a row "
            f"without, number {short[0]}",
            path,
        )
    return [{name: _read(text) for name, text in row.items()} for row in rows]


def write_rows(path: str | Path, rows: Sequence[dict[str, Any]]) -> None:
    """Writes a CSV file atomically, replacing an existing one.

    Args:
        path: The file.
        rows: Dicts with the same keys, at least one.
    """
    lines = io.StringIO()
    writer = csv.DictWriter(lines, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _written(value) for name, value in row.items()} for row in rows)
    write_text(path, lines.getvalue())


def _written(value: Any) -> Any:
    """Lists of classes are written as "0 3 7", None as an empty field."""
    if isinstance(value, (tuple, list)):
        return " ".join(map(str, value))
    return "" if value is None else value


def _read(text: str) -> Any:
    if text == "":
        return None
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text
