"""Keras model files that module files refer to by digest, instead of holding a copy."""

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py  # Keras needs it
import keras
import numpy as np

from moda_keras.files import ModuleFileError, reading, temporary_folder
from moda_keras.messages import shortened
from moda_keras.modules import manifest as manifests
from moda_keras.modules.checked_files.keras_file import load_keras_file
from moda_keras.modules.checked_files.limits import byte_limit
from moda_keras.modules.checked_files.zip_archive import open_archive, read_member
from moda_keras.modules.manifest import parse_manifest, reference_of

# What a saved config holds beside the model itself: how it was compiled and built, and identities
# of Python objects, which differ from process to process.
_INCIDENTAL = {"build_config", "build_input_shape", "compile_config", "shared_object_id"}


def refer_to(model_file: str | Path, model: keras.Model, path: Path) -> dict[str, str]:
    """What a module file keeps of a model file, after a check that it holds this very model.

    Args:
        model_file: A .keras file.
        model: The model that was decomposed.
        path: The module file to be written.

    Returns:
        Dict of "file", the path of the model file relative to the folder of the module file, and
        "sha256", the digest of its content.

    Raises:
        FileNotFoundError: If there is no such model file.
        ValueError: If it is not a .keras file, or holds another model or other weights.
    """
    model_file = Path(model_file)
    if model_file.suffix != ".keras":
        raise ValueError(
            "Expected `model_file` to be a .keras file, as `model.save` writes it. Received: "
            f"model_file={str(model_file)!r}"
        )
    if not model_file.is_file():
        raise FileNotFoundError(
            f"Expected `model_file` to exist. Received: model_file={str(model_file)!r}. Write it "
            "first, with `modules.model.save`"
        )
    digest = digest_of(model_file)
    difference = _difference(model_file, model)
    if difference is not None:
        raise ValueError(
            "Expected `model_file` to hold the model that was decomposed. Received: "
            f"model_file={str(model_file)!r}, {difference}. Save the model again with "
            "`modules.model.save`, or leave out `model_file`"
        )
    # Folders are resolved, for ".." behind a symbolic link leads elsewhere; the file is not, so
    # that it can itself be a link.
    relative = os.path.relpath(model_file.parent.resolve() / model_file.name, path.parent.resolve())
    return {"file": Path(relative).as_posix(), "sha256": digest}


def load_referred(
    reference: Mapping[str, str],
    path: Path,
    model_file: str | Path | None,
    *,
    custom_objects: Mapping[str, Any] | None,
    safe_mode: bool,
    max_bytes: int | None = None,
) -> keras.Model:
    """Loads the model that a module file refers to.

    Args:
        reference: As `refer_to` returned it.
        path: The module file.
        model_file: Where the model file is; None for where it was.
        custom_objects: As of `load_modules`.
        safe_mode: As of `load_modules`.
        max_bytes: As of `load_modules`.

    Returns:
        The model, not compiled.

    Raises:
        FileNotFoundError: If the model file is not there.
        ModuleFileError: If it has another digest, or cannot be loaded.
    """
    found = _find(reference["file"], path, model_file)
    digest = digest_of(found)
    if digest != reference["sha256"]:
        raise ModuleFileError(
            f"Expected {str(found)!r} to be the model file that {str(path)!r} refers to, with the "
            f"sha256 digest {shortened(reference['sha256'], 64)}. Received: a file with the digest "
            f"{digest}, which is another model or was written again. Restore the file, pass "
            "`model_file=` to `load_modules`, or decompose the new model",
            found,
            "it is another model or was written again",
        )
    return load_keras_file(
        found,
        found,
        byte_limit(found, max_bytes),
        is_default=max_bytes is None,
        custom_objects=custom_objects,
        safe_mode=safe_mode,
    )


def referred_model(path: str | Path, max_bytes: int | None = None) -> Path | None:
    """The model file that a module file refers to; None if it holds its model itself.

    Args:
        path: A module file.
        max_bytes: As of `load_modules`.

    Raises:
        ModuleFileError: If it is no module file.
    """
    path = Path(path)
    with (
        reading(path, "a module file"),
        open_archive(path, byte_limit(path, max_bytes)) as archive,
    ):
        content = read_member(archive, manifests.NAME, manifests.MAX_BYTES)
        reference = reference_of(parse_manifest(content, path))
    return None if reference is None else _find(reference["file"], path, None)


def digest_of(path: Path) -> str:
    """The sha256 digest of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _find(file: str, path: Path, model_file: str | Path | None) -> Path:
    if model_file is not None:
        candidates = [Path(model_file)]
    else:
        # Caches keep links to files that are elsewhere, and so do users.
        candidates = [folder / file for folder in (path.parent, path.resolve().parent)]
    for each in candidates:
        if each.is_file():
            return each
    raise FileNotFoundError(
        f"The module file {str(path)!r} refers to the Keras model "
        f"{shortened(repr(Path(file).name), 200)}, and there is no file "
        f"{shortened(repr(str(candidates[0])), 300)}. Put the model there, or say where it is: "
        "`load_modules(path, model_file=...)`"
    )


def _difference(model_file: Path, model: keras.Model) -> str | None:
    """How the model in a file differs from `model`, in words; None if it does not."""
    with temporary_folder() as folder:
        saved, again = folder / "saved.keras", folder / "again.keras"
        model.save(saved)
        difference = _difference_of_files(model_file, saved)
        if difference is None:
            return None
        # A file of another version of Keras, or a model built only when it was called, may say the
        # same in another way.
        try:
            keras.saving.load_model(model_file, compile=False).save(again)
        except Exception:  # custom layers, damage, Lambdas: whatever Keras says of them
            return difference
        return _difference_of_files(again, saved)


def _difference_of_files(first: Path, second: Path) -> str | None:
    try:
        with zipfile.ZipFile(first) as one, zipfile.ZipFile(second) as other:
            if _config(one) != _config(other):
                return "in which a layer, a setting of one or a connection is different"
            return _difference_of_weights(one, other) or _difference_of_assets(one, other)
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        return f"which cannot be read ({error})"


def _config(archive: zipfile.ZipFile) -> Any:
    return _essential(json.loads(archive.read("config.json")))


def _essential(config: Any) -> Any:
    if isinstance(config, dict):
        return {key: _essential(each) for key, each in config.items() if key not in _INCIDENTAL}
    return [_essential(each) for each in config] if isinstance(config, list) else config


def _difference_of_weights(one: zipfile.ZipFile, other: zipfile.ZipFile) -> str | None:
    with _weights_file(one) as first, _weights_file(other) as second:
        names, expected = _names_of_weights(first), _names_of_weights(second)
        if names != expected:
            return f"in which the weights {sorted(names ^ expected)[:5]} are missing or too many"
        for name in sorted(names):
            if not np.array_equal(_bytes_of(first[name]), _bytes_of(second[name])):
                return f"in which the weights {name!r} have other values"
    return None


def _weights_file(archive: zipfile.ZipFile) -> h5py.File:
    return h5py.File(io.BytesIO(archive.read("model.weights.h5")), "r")


def _names_of_weights(file: h5py.File) -> set[str]:
    """The names of what inference uses."""
    names: list[str] = []

    def visit(name: str, item: Any) -> None:
        is_of_training = name.startswith("optimizer/") or "seed_generator" in name.split("/")
        if isinstance(item, h5py.Dataset) and not is_of_training:
            names.append(name)

    file.visititems(visit)
    return set(names)


def _bytes_of(weights: h5py.Dataset) -> np.ndarray:
    """Equal for equal arrays, those with NaN and strings too."""
    array = np.asarray(weights)
    array = array.astype(str) if array.dtype == object else array
    described = f"{array.dtype}{array.shape}".encode()
    return np.frombuffer(described + array.tobytes(), np.uint8)


def _difference_of_assets(one: zipfile.ZipFile, other: zipfile.ZipFile) -> str | None:
    """Assets are the vocabularies of layers."""
    is_same = _assets(one) == _assets(other)
    return None if is_same else "in which a vocabulary is different"


def _assets(archive: zipfile.ZipFile) -> dict[str, bytes]:
    return {each: archive.read(each) for each in archive.namelist() if each.startswith("assets/")}
