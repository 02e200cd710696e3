"""Data sets that tensorflow-datasets has prepared on this machine."""

import functools
import socket
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from moda_keras.datasets.sample_choice import StoredSplit

# Samples read at a time.
BLOCK = 1024
# The format with random access, of streamed data sets. All others keep the default, TFRecord.
RANDOM_ACCESS = "array_record"
INSTALL = 'pip install "moda-keras[tfds]"'
# What must be downloaded by hand: file names and their source.
MANUAL = {
    "imagenet2012": (
        ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"),
        "https://image-net.org/download-images (you need an account)",
    )
}


def open_builder(
    builder_name: str, data_dir: str | Path | None, download: bool, file_format: str | None = None
) -> Any:
    """Opens a data set, and downloads and prepares it if `download` is set.

    Args:
        builder_name: Its name in tensorflow-datasets.
        data_dir: Folder of all prepared data sets; None for the default of tensorflow-datasets.
        download: Whether to download and prepare it if it is not there.
        file_format: Format to prepare it in; None for the default.

    Returns:
        A `tfds.core.DatasetBuilder`.

    Raises:
        ImportError: If tensorflow-datasets is not installed.
        FileNotFoundError: If the data cannot be downloaded or prepared.
    """
    builder = import_tfds().builder(builder_name, data_dir=data_dir)
    if download and not builder.is_prepared():
        _prepare(builder, file_format)
    return builder


def read_split(builder: Any, split: str) -> StoredSplit:
    """Reads all images of a split into memory, with TensorFlow.

    Args:
        builder: From `open_builder`; its images all have the same size.
        split: Name of the split, or several names joined by "+".

    Returns:
        The split; its samples are uint8 (N, height, width, channels).

    Raises:
        FileNotFoundError: If the data or the split is not there.
        ImportError: If TensorFlow is not installed.
    """
    tfds = import_tfds()
    _require_tensorflow()
    wanted = tfds.decode.PartialDecoding({"image": True, "label": True})
    try:
        examples = builder.as_dataset(split=split, shuffle_files=False, decoders=wanted)
    except (AssertionError, ValueError) as error:
        raise _missing(builder, split, error) from error
    batches = list(examples.batch(BLOCK).as_numpy_iterator())
    images = np.concatenate([batch["image"] for batch in batches])
    labels = np.concatenate([batch["label"] for batch in batches])
    return StoredSplit(images, labels, class_names_of(builder))


def open_source(builder: Any, split: str) -> Sequence[dict[str, Any]]:
    """Opens a split for random access to its encoded images.

    Args:
        builder: From `open_builder`.
        split: Name of the split.

    Returns:
        A sequence of dicts with "image" (bytes) and "label".

    Raises:
        FileNotFoundError: If the data or the split is not there, or only in another format.
        ImportError: If array_record is not installed.
    """
    decoders = {"image": import_tfds().decode.SkipDecoding()}
    try:
        return builder.as_data_source(split=split, decoders=decoders)
    except ImportError as error:
        raise ImportError(
            "Streamed data sets need array_record (Linux, macOS), which is not installed. Install "
            f"it with: {INSTALL}"
        ) from error
    except (NotImplementedError, ValueError) as error:
        raise _missing(builder, split, error) from error


def class_names_of(builder: Any) -> tuple[str, ...]:
    """Names of all classes, in the order of the labels."""
    return tuple(builder.info.features["label"].names)


@functools.cache
def import_tfds() -> Any:
    """The module `tensorflow_datasets`; raises an ImportError if it is not installed."""
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise ImportError(
            "This data set needs tensorflow-datasets, which is not installed. Install it with: "
            f"{INSTALL}"
        ) from error
    return tensorflow_datasets


def _require_tensorflow() -> None:
    try:
        import tensorflow  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "This data set is read with TensorFlow on every backend, and TensorFlow is not "
            'installed. Install it with: pip install "moda-keras[tensorflow]"'
        ) from error


def _missing(builder: Any, split: str, error: Exception) -> FileNotFoundError:
    """Says what is missing, and how to get it."""
    folder = str(builder.data_path)
    expected = f"Expected the data set {builder.name!r}, prepared by tensorflow-datasets, "
    if not builder.is_prepared():
        return FileNotFoundError(
            f"{expected}in {folder!r}. Received: nothing there. {_how_to_get(builder)}"
        )
    if isinstance(error, NotImplementedError):
        expected += f"in the format {RANDOM_ACCESS!r} "
        received = f"the format {builder.info.file_format.value!r}."
    else:
        expected += f"with the split {split!r} "
        received = str(error)
    return FileNotFoundError(
        f"{expected}in {folder!r}. Received: {received} Remove that folder and prepare the data "
        f"set again. {_how_to_get(builder)}"
    )


def _how_to_get(builder: Any) -> str:
    # The command `tfds build` needs Apache Beam and mlcroissant, which tensorflow-datasets does not
    # install: https://github.com/tensorflow/datasets/issues/5463
    if builder.name not in MANUAL:
        return "Pass `download=True` to `load` to download and prepare it"
    files, source = MANUAL[builder.name]
    folder = Path(builder.data_path).parents[1] / "downloads" / "manual"
    return (
        f"It cannot be downloaded automatically: put {' and '.join(files)}, from {source}, into "
        f"{str(folder)!r}; then pass `download=True` to `load` to prepare it"
    )


def _prepare(builder: Any, file_format: str | None) -> None:
    try:
        _check_host(builder)
        builder.download_and_prepare(file_format=file_format)
    except ImportError as error:
        raise ImportError(
            f"Preparing the data set {builder.name!r} needs a package that is not installed "
            f"({error.name}). Install what is needed with: {INSTALL}"
        ) from error
    except Exception as error:
        advice = f". {_how_to_get(builder)}" if builder.name in MANUAL else ""
        raise FileNotFoundError(
            f"The data set {builder.name!r} could not be downloaded and prepared. "
            f"Received: {type(error).__name__}: {' '.join(str(error).split())}{advice}"
        ) from error


def _check_host(builder: Any) -> None:
    """Fails at once without a network, where tensorflow-datasets would try for minutes."""
    if builder.name in MANUAL or urllib.request.getproxies():
        return
    socket.getaddrinfo(urllib.parse.urlsplit(builder.info.homepage).hostname, None)
