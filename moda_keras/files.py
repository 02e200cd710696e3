"""One way to write a file, whole or not at all, and the error of files that cannot be read."""

import contextlib
import csv
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from moda_keras.messages import printable, shortened
from moda_keras.owners import is_abandoned, temporary_name

LONGEST_REASON = 600
# What a disk says that takes no more.
_NO_MORE = {errno.ENOSPC, errno.EFBIG, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC)}
# What the system says of any file, whatever it holds.
_OF_THE_SYSTEM = {
    errno.EACCES,
    errno.EPERM,
    errno.EISDIR,
    errno.ENOENT,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
}


class ModuleFileError(ValueError):
    """A file that cannot be read: it is damaged, malicious, needs a class that is not here, ...

    `load_modules` raises it whatever the cause is, and so does whatever else reads a file of this
    library. A file that is not there is a `FileNotFoundError`; what the system says of a file, such
    as a missing permission, is an `OSError` as ever.

    Attributes:
        path: Str, the file.
        reason: Str, what is wrong with it, in one printable line of limited length.

    Examples:
        >>> import pathlib, tempfile
        >>> import moda_keras as mk
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "cats.modules"
        ...     _ = path.write_text("meow")
        ...     try:
        ...         mk.load_modules(path)
        ...     except mk.ModuleFileError as error:
        ...         print(error.reason)
        File is not a zip file
    """

    def __init__(self, message: str, path: str | Path = "", reason: str = ""):
        # All of them are arguments of the base class, so that the error can be pickled.
        super().__init__(message, str(path), shortened(reason or message, LONGEST_REASON))

    def __str__(self) -> str:
        return self.args[0]

    @property
    def path(self) -> str:
        return self.args[1]

    @property
    def reason(self) -> str:
        return self.args[2]


class MissingClassError(ValueError):
    """What a file says can be read, but it needs a class that this process does not have.

    Its message goes on after "which is sound as far as it was read, but ...".
    """


def unreadable(path: str | Path, expected: str, reason: object) -> ModuleFileError:
    """The error of a file that is not what it should be.

    Args:
        path: The file.
        expected: What it should be, such as "a module file".
        reason: What is wrong with it: text or an exception.
    """
    words = shortened(reason, LONGEST_REASON) or type(reason).__name__
    if isinstance(reason, (KeyError, AttributeError, IndexError, TypeError)):
        words = f"{type(reason).__name__}: {words}"
    return ModuleFileError(
        f"Expected {expected}. Received: {printable(repr(str(path)))}, which is not one or is "
        f"damaged ({words})",
        path,
        words,
    )


@contextlib.contextmanager
def reading(path: str | Path, expected: str) -> Iterator[None]:
    """Turns whatever goes wrong with the content of a file into a `ModuleFileError`.

    Args:
        path: The file.
        expected: What it should be, such as "a module file".

    Raises:
        ModuleFileError: For any exception but those of the system.
    """
    try:
        yield
    except ModuleFileError:
        raise
    except MissingClassError as error:
        raise ModuleFileError(
            f"Expected {expected}. Received: {printable(repr(str(path)))}, which is sound as far "
            f"as it was read, but {error}",
            path,
            str(error),
        ) from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _OF_THE_SYSTEM:
            raise
        # A cause is printed in full: one with the whole content of a file would fill the terminal.
        is_short = len(str(error)) <= 10 * LONGEST_REASON
        raise unreadable(path, expected, error) from (error if is_short else None)


@contextlib.contextmanager
def replacing(
    path: str | Path, *, companions: bool = False, overwrite: bool = True
) -> Iterator[Path]:
    """Gives a path to write to, and moves the result to `path` when it is complete.

    A crash, a full disk or an exception leaves an existing file unchanged. The new file is on disk,
    not only in the system's memory, before it takes the place of the old one. What a killed process
    left in the folder is removed.

    Args:
        path: The file to replace or create. Missing folders are created.
        companions: Whether other files written to the same temporary folder, such as the weights of
            an exported model, are moved beside `path`. The file itself is moved last.
        overwrite: Whether companions may replace existing files.

    Yields:
        A path with the same name in a temporary folder beside `path`.

    Raises:
        FileExistsError: If a companion exists and `overwrite` is False; nothing is moved then.
        OSError: If the disk is full or the folder cannot be written; names `path`.
    """
    path = Path(path)
    folder = path.parent / temporary_name(path.name)
    try:
        with _blaming(path, folder):
            path.parent.mkdir(parents=True, exist_ok=True)
            _make_folder(folder)
            beside = folder / path.name
            yield beside
            others = sorted(set(folder.iterdir()) - {beside}) if companions else []
            for each in others:
                if not overwrite and (path.parent / each.name).exists():
                    raise FileExistsError(f"The file {str(path.parent / each.name)!r} exists")
            for each in (*others, beside):
                _flush_to_disk(each)
            for each in (*others, beside):
                os.replace(each, path.parent / each.name)
            flush_folder(path.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder in the system's folder of temporary files, removed at the end.

    As `tempfile.TemporaryDirectory`, but if this process is killed, the next one that asks for such
    a folder removes it.

    Yields:
        The folder.
    """
    folder = Path(tempfile.gettempdir()) / temporary_name("moda_keras")
    try:
        _make_folder(folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def flush_folder(folder: Path) -> None:
    """Waits until the names in a folder are on disk, where the system can be asked to (POSIX)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems
            raise
    finally:
        os.close(descriptor)


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
        ModuleFileError: If the file is no text, or a row has more fields than the header.
    """
    with (
        reading(path, "a CSV file, text in UTF-8"),
        Path(path).open(newline="", encoding="utf-8") as file,
    ):
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows, start=1):
        if None in row:
            raise ModuleFileError(
                f"Expected rows of {len(row) - 1} fields, as many as the header of {str(path)!r} "
                f"has. Received: {len(row[None])} more in row {number}",
                path,
            )
    return rows


def _make_folder(folder: Path) -> None:
    """Makes a temporary folder, and removes those beside it whose process was killed."""
    folder.mkdir(mode=0o700)
    now = folder.stat().st_mtime
    for each in _entries(folder.parent):
        if each.name.endswith(".part") and is_abandoned(each.name, now - _changed(each)):
            shutil.rmtree(each, ignore_errors=True)


def _entries(folder: Path) -> list[Path]:
    """What is in a folder; nothing where it may be written but not listed."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _changed(path: Path) -> float:
    """When a file last changed; never for one that has just been removed."""
    try:
        return path.stat().st_mtime
    except OSError:
        return float("inf")


@contextlib.contextmanager
def _blaming(path: Path, folder: Path) -> Iterator[None]:
    """An error of writing is of the file that was asked for, not of one in a temporary folder."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # HDF5 raises RuntimeError too
        number = _number_of(error)
        is_inside = str(folder) in str(getattr(error, "filename", None))
        if number not in _NO_MORE and not (is_inside and number):
            raise
        reason = f"{os.strerror(number)} (the file was not written; an older one is as it was)"
        raise OSError(number, reason, str(path)) from error


def _number_of(error: BaseException) -> int | None:
    """The number of a system error; HDF5 only has it in its text."""
    text = str(error)
    written = (number for number in _NO_MORE if f"errno = {number}," in text)
    return getattr(error, "errno", None) or next(written, None)


def _flush_to_disk(path: Path) -> None:
    """Without this, a power cut after the rename may leave an empty file."""
    for each in path.rglob("*") if path.is_dir() else [path]:
        if not each.is_file():
            continue
        # Windows flushes only what is open for writing.
        with each.open("r+b") as file:
            os.fsync(file.fileno())
