"""Loads HDF5 files of whole models, as old versions of Keras wrote them, damaged or malicious."""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py  # Keras needs it
import keras

from moda_keras.files import reading
from moda_keras.messages import shortened
from moda_keras.modules.checked_files.json_text import parse_json
from moda_keras.modules.checked_files.limits import require_within
from moda_keras.modules.checked_files.model_building import build_old_model
from moda_keras.modules.checked_files.model_config import check_config, classes_in_scope
from moda_keras.modules.checked_files.old_settings import without_old_settings
from moda_keras.modules.checked_files.weights_file import (
    MAX_OBJECTS,
    objects_of,
    size_of_dataset,
)

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
    with reading(path, "a file with a Keras model that can be loaded"):
        with h5py.File(path, "r") as file:
            held = _check_objects(file, limit)
            config = without_old_settings(_config_of(file))
        options = (limit, held if is_default else None, None, True)
        check_config(config, *options, build=build_old_model)
        # Built from what was checked: Keras would read the config again.
        model = build_old_model(config, classes_in_scope(config), True)
        model.load_weights(path)
        return model


def _config_of(file: h5py.File) -> Any:
    if CONFIG not in file.attrs:
        raise ValueError(
            "it has weights alone, and no model. Load them into the model with `load_weights`, and "
            "save it whole, with `model.save` as a .keras file"
        )
    text = file.attrs[CONFIG]
    return parse_json(text.encode() if isinstance(text, str) else bytes(text), f"its {CONFIG}")


def _check_objects(file: h5py.File, limit: int) -> int:
    """Checks all objects in a file, and adds up the weights that Keras reads.

    Names can name the same weights again and again.
    """
    objects = list(objects_of(file))
    sizes = sum(map(size_of_dataset, (each for each in objects if isinstance(each, h5py.Dataset))))
    attributes = sum(map(_size_of_attributes, (file, *objects)))
    require_within("its weights and attributes take", sizes + attributes, limit)
    read = _size_of_named(file[WEIGHTS]) if WEIGHTS in file else 0
    require_within("its weights, with those that are named twice, take", read, limit)
    return read


def _size_of_attributes(item: h5py.HLObject) -> int:
    return sum(_size_of_attribute(item.attrs.get_id(name)) for name in item.attrs)


def _size_of_attribute(attribute: h5py.h5a.AttrID) -> int:
    # A text of any length is in the file as it is, but a list can hold the same one many times.
    if attribute.dtype.hasobject and attribute.shape != ():
        name = shortened(ascii(attribute.name), 100)
        raise ValueError(f"its attribute {name} is a list of texts of any length")
    return math.prod(attribute.shape) * attribute.dtype.itemsize


def _size_of_named(weights: h5py.Group) -> int:
    """The bytes of the weights that are named, once for each time."""
    others = [OTHER_WEIGHTS] if OTHER_WEIGHTS in weights else []
    size = count = 0
    for layer in itertools.chain(_names(weights, "layer_names"), others):
        names = list(_names(weights[layer], "weight_names"))
        count += 1 + len(names)
        if count > MAX_OBJECTS:
            raise ValueError(f"it names more than {MAX_OBJECTS:,} layers and weights")
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
