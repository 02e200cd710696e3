"""Data sets that tensorflow-datasets has prepared on this machine."""

import functools
import socket
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np

from moda_keras.datasets.stored_split import StoredSplit

# Samples that are read at a time.
BLOCK = 1024
INSTALL = 'pip install "moda-keras[tfds]"'
# What is not downloaded, but fetched by hand: file names, and where from.
MANUAL = {
    "imagenet2012": (
        ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"),
        "https://image-net.org/download-images (you need an account)",
    )
}


def open_builder(builder_name: str, data_dir: str | Path | None, download: bool) -> Any:
    """Opens a data set, and fetches and prepares it where that is asked for.

    Args:
        builder_name: Its name in tensorflow-datasets.
        data_dir: Folder of all prepared data sets; None for that of tensorflow-datasets.
        download: Whether to fetch and prepare it if it is not there.

    Returns:
        A `tfds.core.DatasetBuilder`.

    Raises:
        ImportError: If tensorflow-datasets or TensorFlow is not installed.
        FileNotFoundError: If the data cannot be fetched.
    """
    builder = _import_tfds().builder(builder_name, data_dir=data_dir)
    if download and not builder.is_prepared():
        _prepare(builder)
    return builder


def read_split(builder: Any, split: str) -> StoredSplit:
    """Reads all images of a split into memory.

    Args:
        builder: As of `open_builder`; its images are all of one size.
        split: Name of the split, or several, joined by "+".

    Returns:
        The split, its samples uint8 (N, height, width, channels).

    Raises:
        FileNotFoundError: If the data, or the split, is not there.
    """
    batches = list(open_split(builder, split).batch(BLOCK).as_numpy_iterator())
    images = [batch["image"] for batch in batches]
    labels = [batch["label"] for batch in batches]
    return StoredSplit(np.concatenate(images), np.concatenate(labels), class_names_of(builder))


def open_split(builder: Any, split: str, decoders: dict[str, Any] | None = None) -> Any:
    """Opens a split for reading in the order in which it is stored.

    Args:
        builder: As of `open_builder`.
        split: Name of the split, or several, joined by "+".
        decoders: How features are decoded, by name, if not as usual.

    Returns:
        A `tf.data.Dataset` of dicts with "image" and "label".

    Raises:
        FileNotFoundError: If the data, or the split, is not there.
    """
    tfds = _import_tfds()
    # Each run reads in the same order, and holds nothing that was read.
    config = tfds.ReadConfig(try_autocache=False)
    wanted = tfds.decode.PartialDecoding({"image": True, "label": True}, decoders)
    try:
        return builder.as_dataset(
            split=split, shuffle_files=False, read_config=config, decoders=wanted
        )
    except AssertionError as error:
        raise FileNotFoundError(
            f"Expected the data set {builder.name!r}, prepared by tensorflow-datasets, in "
            f"{str(builder.data_path)!r}. Received: nothing there. {how_to_get(builder)}"
        ) from error
    except ValueError as error:
        raise FileNotFoundError(
            f"Expected the split {split!r} of the data set {builder.name!r} in "
            f"{str(builder.data_path)!r}. Received: {error} Remove that folder and prepare the "
            f"data set again. {how_to_get(builder)}"
        ) from error


def class_names_of(builder: Any) -> tuple[str, ...]:
    """Names of all classes, in the order of the labels.

    Args:
        builder: As of `open_builder`.

    Returns:
        Tuple of names.
    """
    return tuple(builder.info.features["label"].names)


def import_tensorflow() -> Any:
    """TensorFlow, which reads and decodes the images on every backend.

    Returns:
        The module.

    Raises:
        ImportError: If it is not installed.
    """
    try:
        import tensorflow
    except ImportError as error:
        raise ImportError(
            "tensorflow-datasets reads with TensorFlow, on every backend, and TensorFlow is not "
            'installed. Install it with: pip install "moda-keras[tensorflow]"'
        ) from error
    return tensorflow


@functools.cache
def _import_tfds() -> Any:
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise ImportError(
            "This data set comes through tensorflow-datasets, which is not installed. Install it "
            f"with: {INSTALL}"
        ) from error
    import_tensorflow()
    return tensorflow_datasets


def how_to_get(builder: Any) -> str:
    """What to type in order to have the data.

    Args:
        builder: As of `open_builder`.

    Returns:
        A sentence.
    """
    root = Path(builder.data_path).parents[1]
    command = f"tfds build {builder.name} --data_dir={root}"
    if builder.name not in MANUAL:
        return f"Pass `download=True` to `load`, or type: {command}"
    files, source = MANUAL[builder.name]
    folder = root / "downloads" / "manual"
    return (
        f"It is not downloaded by itself: put {' and '.join(files)}, from {source}, into "
        f"{str(folder)!r}; then pass `download=True` to `load`, or type: {command}"
    )


def _prepare(builder: Any) -> None:
    try:
        _check_host(builder)
        builder.download_and_prepare()
    except ImportError as error:
        raise ImportError(
            f"Preparing the data set {builder.name!r} needs a package that is not installed "
            f"({error.name}). Install what is needed with: {INSTALL}"
        ) from error
    except Exception as error:
        raise FileNotFoundError(
            f"The data set {builder.name!r} could not be fetched and prepared. "
            f"{how_to_get(builder)}. "
            f"Received: {type(error).__name__}: {' '.join(str(error).split())}"
        ) from error


def _check_host(builder: Any) -> None:
    """Without a network, tensorflow-datasets would try for minutes."""
    if builder.name in MANUAL or urllib.request.getproxies():
        return
    socket.getaddrinfo(urllib.parse.urlsplit(builder.info.homepage).hostname, None)
