"""Reading and writing the files that commands are given."""

import os
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from moda_keras.cli.class_names import write_class_names
from moda_keras.cli.errors import CommandError
from moda_keras.cli.file_limits import limit_of, max_bytes
from moda_keras.files import reading, replacing
from moda_keras.modules.checked_files.zip_archive import open_archive

if TYPE_CHECKING:
    import keras

    from moda_keras.modules.module_set import ModuleSet

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
ZIP_SIGNATURE = b"PK\x03\x04"


def kind_of(path: Path) -> Literal["modules", "model"] | None:
    """What a file is, by its content: a module file, a Keras model, or neither (None).

    Raises:
        CommandError: If there is no such file.
        ModuleFileError: If it is an incomplete archive.
    """
    require_file(path)
    with path.open("rb") as file:
        start = file.read(len(HDF5_SIGNATURE))
    if start == HDF5_SIGNATURE:
        return "model"
    if not start.startswith(ZIP_SIGNATURE):
        return None
    names = _names_in_archive(path)
    return "modules" if "manifest.json" in names else "model" if "config.json" in names else None


def _names_in_archive(path: Path) -> list[str]:
    """The names of the members of a zip archive."""
    with reading(path, "a complete file"), open_archive(path, limit_of(path)) as archive:
        return archive.namelist()


def load_model(path: Path) -> "keras.Model":
    """Loads a Keras model file.

    Args:
        path: The file.

    Returns:
        The model, not compiled.

    Raises:
        CommandError: If there is no such file, or it is not a Keras model.
        ModuleFileError: If it cannot be loaded, or would take too much memory.
    """
    from moda_keras.modules.checked_files.hdf5_file import load_hdf5_file
    from moda_keras.modules.checked_files.keras_file import load_keras_file

    kind = kind_of(path)
    if kind == "modules":
        raise CommandError(
            f"Expected a Keras model file. Received: {str(path)!r}, which is a module file"
        )
    if kind is None:
        raise CommandError(
            "Expected a Keras model file, as written by `model.save` (.keras). "
            f"Received: {str(path)!r}"
        )
    limit, is_default = limit_of(path), max_bytes.get() is None
    if zipfile.is_zipfile(path):
        options = {"is_default": is_default, "custom_objects": None, "safe_mode": True}
        return load_keras_file(path, path, limit, **options)
    return load_hdf5_file(path, limit, is_default=is_default)


def load_modules(path: Path, output: Path | None = None) -> "ModuleSet":
    """Loads a module file.

    Args:
        path: The file.
        output: What will be written: not the model file that the module file refers to.

    Returns:
        The modules.

    Raises:
        CommandError: If there is no such file, it is a Keras model, or refers to the output.
        ValueError: If it is not a module file, or is damaged.
    """
    import moda_keras as mk

    if kind_of(path) == "model":
        raise CommandError(
            f"Expected a module file. Received: {str(path)!r}, which is a Keras model. Make a "
            f"module file of it with: moda decompose {path} --data ..."
        )
    modules = mk.load_modules(path, max_bytes=max_bytes.get())
    if output is not None:
        check_stays([referred_model(path)], output)
    return modules


def referred_model(path: Path) -> Path | None:
    """The model file that a module file refers to; None if it holds its model itself."""
    from moda_keras.modules import model_file

    return model_file.referred_model(path, max_bytes.get())


def check_reference(model: Path) -> None:
    """Refuses a model file that no module file can refer to, before any work is done.

    Raises:
        CommandError: If it is not a .keras file.
    """
    if model.suffix != ".keras":
        raise CommandError(
            f"Expected a .keras file to refer to. Received: {str(model)!r}. Leave out --refer"
        )


def check_output(
    path: Path,
    *,
    force: bool,
    suffix: str | None = None,
    sources: Iterable[str | Path | None] = (),
) -> None:
    """Refuses an output that cannot be written, before any work is done.

    Args:
        path: The file that will be written.
        force: Whether it may exist.
        suffix: The suffix it must have.
        sources: Files that are read and must stay, also under another name; None, and names of data
            sets, are ignored.

    Raises:
        CommandError: If it exists, has another suffix, is one of the sources, or its folder is not
            writable.
    """
    check_stays(sources, path)
    if suffix is not None and path.suffix != suffix:
        raise CommandError(f"Expected an output that ends in {suffix}. Received: {str(path)!r}")
    if path.is_dir():
        raise CommandError(f"The folder {str(path)!r} exists. Remove it, or choose another output")
    if path.exists() and not force:
        raise CommandError(f"The file {str(path)!r} exists. Pass --force to replace it")
    folder = next(each for each in path.absolute().parents if each.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise CommandError(f"Expected an output in a writable folder. Received: {str(path)!r}")


def check_stays(sources: Iterable[str | Path | None], output: Path) -> None:
    """Refuses an output that would replace a file that the command reads, even with --force.

    Args:
        sources: As of `check_output`.
        output: The file that will be written.

    Raises:
        CommandError: If it is one of the sources.
    """
    if not output.exists():
        return
    for source in sources:
        if source is not None and Path(source).exists() and output.samefile(source):
            raise CommandError(
                f"Expected an output other than the file that is read. Received: {str(output)!r}"
            )


def write_model(
    model: "keras.Model",
    path: Path,
    class_names: Sequence[str],
    other: str | None = None,
    add: Callable[[Path], None] | None = None,
) -> None:
    """Saves a .keras file with the names of its outputs, whole or not at all.

    Args:
        model: The model.
        path: The file.
        class_names: The class of each output.
        other: As of `write_class_names`.
        add: Adds more to the file before it takes its place.
    """
    with replacing(path) as beside:
        model.save(beside)
        write_class_names(beside, class_names, other)
        if add is not None:
            add(beside)


def require_file(path: Path) -> None:
    """Raises a `CommandError` if there is no such file."""
    if not path.exists():
        raise CommandError(f"There is no file {str(path)!r}")
    if path.is_dir():
        raise CommandError(f"Expected a file. Received: {str(path)!r}, which is a folder")
