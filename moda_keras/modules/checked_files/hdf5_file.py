"""Loads HDF5 files of whole models, as old versions of Keras wrote them, damaged or malicious."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py  # Keras needs it
import keras

from moda_keras.files import reading
from moda_keras.modules.checked_files.hdf5_attributes import check_attributes
from moda_keras.modules.checked_files.json_text import parse_json
from moda_keras.modules.checked_files.limits import require_within
from moda_keras.modules.checked_files.loading_errors import UNKNOWN, with_versions
from moda_keras.modules.checked_files.missing_classes import naming_missing_classes
from moda_keras.modules.checked_files.model_building import build_old_model
from moda_keras.modules.checked_files.model_config import MAX_LAYERS, check_config, classes_in_scope
from moda_keras.modules.checked_files.old_settings import without_old_settings
from moda_keras.modules.checked_files.weights_file import (
    MAX_OBJECTS,
    objects_of,
    size_of_dataset,
)

SUFFIXES = (".h5", ".hdf5")
CONFIG = "model_config"
WEIGHTS = "model_weights"
OTHER_WEIGHTS = "top_level_model_weights"


def load_hdf5_file(path: Path, limit: int, *, is_default: bool) -> keras.Model:
    """Loads an HDF5 file of a whole model after a check of what Keras would make of it.

    Args:
        path: The file.
        limit: The most bytes that its weights, and those of the model in it, may take.
        is_default: Whether nobody chose this limit. The weights of the model may then not take much
            more than those in the file either.

    Returns:
        The model, not compiled.

    Raises:
        ModuleFileError: If the file cannot be loaded, or has Python lambdas.
    """
    saved_by = UNKNOWN
    with reading(path, "a file with a Keras model that can be loaded"):
        try:
            if path.suffix not in SUFFIXES:
                raise ValueError(
                    f"it is HDF5, which Keras reads from {' and '.join(SUFFIXES)}. Rename it"
                )
            with h5py.File(path, "r") as file:
                held = _check_objects(path, file, limit)
                saved_by = _text(file, "keras_version", UNKNOWN)
                config = without_old_settings(_config_of(file))
            held_by_default = held if is_default else None
            check_config(config, limit, held_by_default, None, True, build_old_model)
            # Built from what was checked: Keras would read the config again.
            with naming_missing_classes(config, None):
                model = build_old_model(config, classes_in_scope(config))
            model.load_weights(path)
        except Exception as error:
            raise with_versions(error, saved_by) from error
        return model


def _text(file: h5py.File, attribute: str, default: str) -> str:
    text = file.attrs.get(attribute, default)
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)


def _config_of(file: h5py.File) -> Any:
    if CONFIG not in file.attrs:
        raise ValueError(
            "it has weights alone, and no model. Load them into the model with `load_weights`, and "
            "save it whole, with `model.save` as a .keras file"
        )
    return parse_json(_text(file, CONFIG, "").encode(), f"its {CONFIG}")


def _check_objects(path: Path, file: h5py.File, limit: int) -> int:
    """Checks all objects in a file, and adds up the weights that Keras reads.

    Names can name the same weights again and again.
    """
    objects = list(objects_of(file))
    sizes = sum(map(size_of_dataset, (each for each in objects if isinstance(each, h5py.Dataset))))
    require_within("its weights take", sizes, limit)
    check_attributes(path, (file, *objects), limit)
    read = _size_of_named(file[WEIGHTS]) if WEIGHTS in file else 0
    require_within("its weights, with those that are named twice, take", read, limit)
    return read


def _size_of_named(weights: h5py.Group) -> int:
    """The bytes of the weights that are named, once for each time."""
    others = [OTHER_WEIGHTS] if OTHER_WEIGHTS in weights else []
    layers = itertools.islice(_names(weights, "layer_names"), MAX_LAYERS + 1)
    layers = [*layers, *others]
    if len(layers) > MAX_LAYERS:
        raise ValueError(f"it names more than {MAX_LAYERS:,} layers with weights")
    size = count = 0
    for layer in layers:
        names = list(_names(weights[layer], "weight_names"))
        count += len(names)
        if count > MAX_OBJECTS:
            raise ValueError(f"it names more than {MAX_OBJECTS:,} weights")
        size += sum(size_of_dataset(weights[layer][name]) for name in names)
    return size


def _names(group: h5py.Group, attribute: str) -> Iterator[Any]:
    """The names in an attribute, or in its numbered parts where there are many."""
    if attribute in group.attrs:
        parts = [attribute]
    else:
        numbered = (f"{attribute}{index}" for index in itertools.count())
        parts = itertools.takewhile(lambda part: part in group.attrs, numbered)
    for part in parts:
        yield from group.attrs[part]
