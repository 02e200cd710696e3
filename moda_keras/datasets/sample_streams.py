"""Samples that are read from files in their order: encoded images with their labels."""

import functools
import hashlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from moda_keras.datasets.sample_choice import choose_rows, places_of
from moda_keras.datasets.tfds_splits import import_tensorflow, open_split


class SampleStream(Protocol):
    """Samples in a fixed order.

    Attributes:
        labels: Their labels, int32 array (N,).
    """

    labels: np.ndarray

    def encoded(self) -> Any:
        """The samples: a `tf.data.Dataset` of image files' contents and int32 labels."""


class PreparedSamples:
    """A split that tensorflow-datasets has prepared.

    Args:
        builder: As of `open_builder`.
        split: Name of the split.

    Raises:
        FileNotFoundError: If the split is not there.
    """

    def __init__(self, builder: Any, split: str):
        self.builder = builder
        self.split = split
        self.encoded()

    @functools.cached_property
    def labels(self) -> np.ndarray:
        """Read from all files, once."""
        blocks = self.encoded().map(lambda image, label: label).batch(4096)
        return np.concatenate([np.zeros(0, "int32"), *blocks.as_numpy_iterator()])

    def encoded(self) -> Any:
        import tensorflow_datasets as tfds

        tf = import_tensorflow()
        encoded = {"image": tfds.decode.SkipDecoding()}
        examples = open_split(self.builder, self.split, encoded)
        return examples.map(lambda each: (each["image"], tf.cast(each["label"], "int32")))


class ChosenSamples:
    """Some samples of a stream, in its order, perhaps with other labels.

    Args:
        parent: The stream.
        choose: Called with the parent's labels: gives the rows to take and their labels.
    """

    def __init__(
        self, parent: SampleStream, choose: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    ):
        self.parent = parent
        self.choose = choose

    @functools.cached_property
    def _places(self) -> np.ndarray:
        """Per sample of the parent its label here; -1 where it is not taken."""
        places = np.full(len(self.parent.labels), -1, "int32")
        rows, labels = self.choose(self.parent.labels)
        places[rows] = labels
        return places

    @functools.cached_property
    def labels(self) -> np.ndarray:
        return self._places[self._places >= 0]

    def encoded(self) -> Any:
        tf = import_tensorflow()
        places = tf.constant(self._places)
        numbered = self.parent.encoded().enumerate()
        relabelled = numbered.map(lambda row, sample: (sample[0], tf.gather(places, row)))
        return relabelled.filter(lambda image, label: label >= 0)


class CachedSamples:
    """A copy of a stream, made when it is first read.

    Args:
        parent: The stream.
        cache: The folder of all copies.
        identity: Tells the stream from others.
    """

    def __init__(self, parent: SampleStream, cache: str | Path, identity: str):
        self.parent = parent
        self.folder = Path(cache) / hashlib.blake2b(identity.encode(), digest_size=8).hexdigest()

    @functools.cached_property
    def labels(self) -> np.ndarray:
        self._fill()
        return np.load(self.folder / "labels.npy")

    def encoded(self) -> Any:
        self._fill()
        return import_tensorflow().data.Dataset.load(str(self.folder / "samples"))

    def _fill(self) -> None:
        if self.folder.exists():
            return
        partial = self.folder.with_name(f"{self.folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        np.save(partial / "labels.npy", self.parent.labels)
        self.parent.encoded().save(str(partial / "samples"))
        partial.rename(self.folder)


def sample_of(
    parent: SampleStream, classes: Sequence[int], limit: int | None, seed: int
) -> ChosenSamples:
    """Up to `limit` random samples of some classes, in the stream's order.

    Args:
        parent: The stream.
        classes: Class indices; the new labels are the places in here.
        limit: Samples of each class, at most; None for all.
        seed: Seed of the choice.

    Returns:
        A stream.
    """
    return ChosenSamples(parent, lambda labels: choose_rows(labels, classes, limit, seed))


def samples_of_classes(
    parent: SampleStream, classes: Sequence[int], num_classes: int
) -> ChosenSamples:
    """The samples of some classes.

    Args:
        parent: The stream.
        classes: Class indices; the new labels are the places in here.
        num_classes: How many classes the stream has.

    Returns:
        A stream.
    """
    places = places_of(classes, num_classes)

    def choose(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows = np.flatnonzero(places[labels] >= 0)
        return rows, places[labels[rows]]

    return ChosenSamples(parent, choose)


def samples_at(parent: SampleStream, rows: np.ndarray) -> ChosenSamples:
    """The samples in some places of a stream.

    Args:
        parent: The stream.
        rows: Int array of places.

    Returns:
        A stream.
    """
    return ChosenSamples(parent, lambda labels: (rows, labels[rows]))
