"""Encoded images in files, read by random access."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Choice = tuple[np.ndarray, np.ndarray]


class StoredSamples:
    """Some samples of a data source. Labels are read when they are first needed.

    Args:
        source: Random access to all samples: dicts with "image" (the content of an image file) and
            "label", as `tfds.data_source` gives them.
        choose: Called once, without arguments. Returns the rows to take and their labels, int32.
    """

    def __init__(self, source: Sequence[dict[str, Any]], choose: Callable[[], Choice]):
        self.source = source
        self._choose = choose

    @functools.cached_property
    def _choice(self) -> Choice:
        rows, labels = self._choose()
        order = np.argsort(rows)  # in storage order, which is the fastest to read
        return rows[order], labels[order]

    @property
    def labels(self) -> np.ndarray:
        """Labels, int32 (samples,)."""
        return self._choice[1]

    def encoded(self, index: int) -> bytes:
        """The content of the image file of one sample."""
        return self.source[int(self._choice[0][index])]["image"]

    def select(self, choose: Callable[[np.ndarray], Choice]) -> "StoredSamples":
        """Some of these samples.

        Args:
            choose: Called with the labels. Returns the places to take and their new labels.

        Returns:
            New `StoredSamples`.
        """

        def choose_rows() -> Choice:
            places, labels = choose(self.labels)
            return self._choice[0][places], labels

        return StoredSamples(self.source, choose_rows)


def open_samples(source: Sequence[dict[str, Any]], labels_file: Path | None) -> StoredSamples:
    """All samples of a data source.

    Args:
        source: As for `StoredSamples`.
        labels_file: A `.npy` file that keeps the labels, which saves reading the whole source for
            them; None to keep none.

    Returns:
        `StoredSamples`.
    """

    def choose() -> Choice:
        labels = _read_labels(source, labels_file)
        return np.arange(len(labels)), labels

    return StoredSamples(source, choose)


def _read_labels(source: Sequence[dict[str, Any]], file: Path | None) -> np.ndarray:
    if file is not None and file.exists():
        labels = np.load(file)
        if len(labels) == len(source):
            return labels
    labels = np.fromiter((source[row]["label"] for row in range(len(source))), "int32", len(source))
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(".partial.npy")
        np.save(unfinished, labels)
        unfinished.replace(file)  # an interrupted write leaves no labels file
    return labels
