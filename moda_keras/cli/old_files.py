"""HDF5 files of Keras 2, which name settings that Keras 3 does not know."""

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from moda_keras.files import temporary_folder

# What Keras 2 wrote for every layer of a class, with the value at which it changes nothing.
_DROPPED = {
    **dict.fromkeys(
        (
            "DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D",
            "Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose",
        ),
        ("groups", 1),
    ),
    **dict.fromkeys(("GRU", "LSTM", "RNN", "SimpleRNN"), ("time_major", False)),
}  # fmt: skip


@contextlib.contextmanager
def readable_by_keras(path: Path) -> Iterator[Path]:
    """Gives an HDF5 model file that Keras 3 reads: the file, or a copy without old settings.

    Only settings that change nothing are left out, so that Keras refuses the others.

    Args:
        path: An HDF5 file.

    Yields:
        The path to load.

    Raises:
        OSError: If the file is damaged.
    """
    import h5py

    with h5py.File(path, "r") as file:
        written = file.attrs.get("model_config")
    config = None if written is None else json.loads(written)
    cleaned = _cleaned(config)
    if cleaned == config:
        yield path
        return
    with temporary_folder() as folder:
        copy = folder / "model.h5"
        shutil.copyfile(path, copy)
        with h5py.File(copy, "r+") as file:
            file.attrs["model_config"] = json.dumps(cleaned)
        yield copy


def _cleaned(node: Any) -> Any:
    if isinstance(node, list):
        return [_cleaned(each) for each in node]
    if not isinstance(node, dict):
        return node
    cleaned = {key: _cleaned(each) for key, each in node.items()}
    name, settings = cleaned.get("class_name"), cleaned.get("config")
    if name == "Policy":  # of mixed precision
        return settings["name"]
    if name in _DROPPED and isinstance(settings, dict):
        setting, value = _DROPPED[name]
        if settings.get(setting) == value:
            del settings[setting]
    return cleaned
