"""Loads .keras files that may be damaged or malicious."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from moda_keras.files import reading, temporary_folder
from moda_keras.messages import shortened
from moda_keras.modules.checked_files.json_text import parse_json
from moda_keras.modules.checked_files.loading_errors import UNKNOWN, with_versions
from moda_keras.modules.checked_files.missing_classes import naming_missing_classes
from moda_keras.modules.checked_files.model_building import build_model
from moda_keras.modules.checked_files.model_config import MAX_CALLS, check_config, classes_in_scope
from moda_keras.modules.checked_files.model_work import work_of
from moda_keras.modules.checked_files.weights_file import check_weights_file
from moda_keras.modules.checked_files.zip_archive import (
    StoredMember,
    extract_member,
    open_archive,
    read_member,
    require_member,
)

WEIGHTS = "model.weights.h5"
# Keras reads it where there are no other weights, and only old versions wrote it.
OTHER_WEIGHTS = "model.weights.npz"
# Vocabularies and the like.
ASSETS = "assets/"
MAX_METADATA_BYTES = 2**16


def load_keras_file(
    path: Path,
    name: Path,
    limit: int,
    *,
    is_default: bool,
    custom_objects: Mapping[str, Any] | None,
    safe_mode: bool,
) -> keras.Model:
    """Loads a .keras file after a check of what Keras would make of it.

    Args:
        path: The file.
        name: What errors call it: the file that it is from.
        limit: The most bytes that its parts, its weights, and the weights of its model may take.
        is_default: Whether nobody chose this limit. The weights of the model may then not take much
            more than those in the file either.
        custom_objects: As of `keras.saving.load_model`.
        safe_mode: As of `keras.saving.load_model`.

    Returns:
        The model, not compiled.

    Raises:
        ModuleFileError: If the file cannot be loaded, whatever the reason is.
    """
    saved_by = UNKNOWN
    with reading(name, "a file with a Keras model that can be loaded"):
        try:
            with open_archive(path, limit) as archive:
                saved_by = _keras_version(archive)
                held, config = _checked_parts(path, archive, limit)
                has_assets = any(each.startswith(ASSETS) for each in archive.namelist())
            check_config(config, limit, held if is_default else None, custom_objects, safe_mode)
            with naming_missing_classes(config, custom_objects):
                model = _load(path, config, has_assets, custom_objects, safe_mode)
        except Exception as error:
            raise with_versions(error, saved_by) from error
        if not isinstance(model, keras.Model):
            raise ValueError("its config.json describes no model")
        return model


def _load(
    path: Path,
    config: dict[str, Any],
    has_assets: bool,
    custom_objects: Mapping[str, Any] | None,
    safe_mode: bool,
) -> Any:
    """Loads a file that was checked: as Keras does, or in a way that is fast for long chains."""
    _, calls = work_of(config)
    if calls <= MAX_CALLS:
        return keras.saving.load_model(
            path, custom_objects=custom_objects, compile=False, safe_mode=safe_mode
        )
    if has_assets:
        raise ValueError(
            f"its layers are called {calls:,} times to build its Sequential model, over the limit "
            f"of {MAX_CALLS:,}, and it has vocabularies. Save it as a functional model"
        )
    found = classes_in_scope(config) | dict(custom_objects or {})
    model = build_model({**config, "compile_config": None}, found, safe_mode)
    model.load_weights(path)
    return model


def _checked_parts(path: Path, archive: zipfile.ZipFile, limit: int) -> tuple[int, Any]:
    """The bytes that the weights take, and the config of the model."""
    if OTHER_WEIGHTS in archive.namelist():
        raise ValueError(f"it has {OTHER_WEIGHTS!r}")
    require_member(archive, WEIGHTS)
    held = _size_of_weights(path, archive, limit)
    return held, parse_json(read_member(archive, "config.json"), "its config.json")


def _size_of_weights(path: Path, archive: zipfile.ZipFile, limit: int) -> int:
    member = archive.getinfo(WEIGHTS)
    if member.compress_type == zipfile.ZIP_STORED:
        with path.open("rb") as file:
            return check_weights_file(StoredMember(file, member), limit)
    # Going back and forth in a compressed member unpacks it again and again.
    with temporary_folder() as folder:
        extract_member(archive, WEIGHTS, folder / WEIGHTS)
        with (folder / WEIGHTS).open("rb") as file:
            return check_weights_file(file, limit)


def _keras_version(archive: zipfile.ZipFile) -> str:
    try:
        content = read_member(archive, "metadata.json", MAX_METADATA_BYTES)
        return shortened(parse_json(content, "its metadata.json")["keras_version"], 40)
    except (ValueError, KeyError, TypeError):
        return UNKNOWN
