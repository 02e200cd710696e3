"""Reading and writing the files that commands are given."""

import os
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moda_keras.cli.errors import CommandError

if TYPE_CHECKING:
    import keras

    from moda_keras.modules.module_set import ModuleSet

Force = Annotated[bool, typer.Option("--force", help="Replace files that exist.")]

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def is_module_file(path: Path) -> bool:
    """Whether a file is one that `ModuleSet.save` wrote."""
    try:
        with zipfile.ZipFile(path) as archive:
            return "manifest.json" in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def load_model(path: Path) -> "keras.Model":
    """Loads a Keras model file.

    Args:
        path: The file.

    Returns:
        The model, not compiled.

    Raises:
        CommandError: If there is no such file, or it is none of Keras's.
    """
    import keras

    require_file(path)
    if is_module_file(path):
        raise CommandError(
            f"Expected a Keras model file. Received: {str(path)!r}, which is a module file"
        )
    if not _is_model_file(path):
        raise CommandError(
            "Expected a Keras model file, as `model.save` writes it (.keras). Received: "
            f"{str(path)!r}, which is none"
        )
    try:
        return keras.saving.load_model(path, compile=False)
    except (ValueError, TypeError, KeyError, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CommandError(
            f"Expected a Keras model file. Received: {str(path)!r}, which Keras cannot load "
            f"({reason})"
        ) from error


def load_modules(path: Path) -> "ModuleSet":
    """Loads a module file.

    Args:
        path: The file.

    Returns:
        The modules.

    Raises:
        CommandError: If there is no such file, or it is a Keras model.
        ValueError: If it is no module file, or is damaged.
    """
    import moda_keras as mk

    require_file(path)
    if not is_module_file(path) and _is_model_file(path):
        raise CommandError(
            f"Expected a module file. Received: {str(path)!r}, which is a Keras model; "
            f"`moda decompose {path} --data ...` makes one of it"
        )
    return mk.load_modules(path)


def check_output(path: Path, *, force: bool, suffix: str | None = None) -> None:
    """Refuses, before any work is done, what could not be written in the end.

    Args:
        path: The file that is going to be written.
        force: Whether it may exist.
        suffix: What it has to end in.

    Raises:
        CommandError: If it exists, has another suffix, or its folder cannot be written to.
    """
    if suffix is not None and path.suffix != suffix:
        raise CommandError(f"Expected an output that ends in {suffix}. Received: {str(path)!r}")
    if path.is_dir():
        raise CommandError(f"The folder {str(path)!r} exists. Remove it, or choose another output")
    if path.exists() and not force:
        raise CommandError(f"The file {str(path)!r} exists. Pass --force to replace it")
    folder = next(each for each in path.absolute().parents if each.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise CommandError(
            f"Expected an output in a folder that can be written to. Received: {str(path)!r}"
        )


def write_model(model: "keras.Model", path: Path) -> None:
    """Saves a model beside its place and renames it, so that a kill leaves an old one whole."""
    write_whole(path, model.save)


def write_whole(path: Path, write: Callable[[Path], object], *, force: bool = True) -> None:
    """Has a file written in a folder beside its place, and renames it.

    What is written beside it, such as the weights in OpenVINO's .bin, comes along. The named file
    is renamed last, so that where it is, all is.

    Args:
        path: The file.
        write: Called with the path to write to, which has the same name.
        force: Whether what is written beside it may replace files.

    Raises:
        CommandError: If one of those exists, and `force` is False; nothing is replaced then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
        written = Path(folder) / path.name
        write(written)
        others = sorted(each for each in Path(folder).iterdir() if each != written)
        for each in others:
            check_output(path.parent / each.name, force=force)
        for each in (*others, written):
            os.replace(each, path.parent / each.name)


def require_file(path: Path) -> None:
    """Raises a `CommandError` if there is no such file.

    Args:
        path: The file.
    """
    if not path.exists():
        raise CommandError(f"There is no file {str(path)!r}")
    if path.is_dir():
        raise CommandError(f"Expected a file. Received: {str(path)!r}, which is a folder")


def _is_model_file(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return "config.json" in archive.namelist()
    except zipfile.BadZipFile:
        with path.open("rb") as file:
            return file.read(len(HDF5_SIGNATURE)) == HDF5_SIGNATURE
