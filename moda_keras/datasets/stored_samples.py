"""Encoded images in files, read by random access."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class StoredSamples:
    """Some samples of a data source, with their labels.

    Attributes:
        source: Random access to all samples: dicts with "image" (the content of an image file) and
            "label", as `tfds.data_source` gives them.
        rows: Which samples, int (N,).
        labels: Labels, int32 (N,).
    """

    source: Sequence[dict[str, Any]]
    rows: np.ndarray
    labels: np.ndarray

    def encoded(self, index: int) -> bytes:
        """The content of the image file of one sample."""
        return self.source[int(self.rows[index])]["image"]

    def select(self, places: np.ndarray, labels: np.ndarray) -> "StoredSamples":
        """Some of these samples with new labels, in storage order, which is the fastest to read."""
        order = np.argsort(places)
        return StoredSamples(self.source, self.rows[places[order]], labels[order])


def read_samples(source: Sequence[dict[str, Any]], labels_file: Path | None) -> StoredSamples:
    """All samples of a data source.

    Args:
        source: As for `StoredSamples`.
        labels_file: A `.npy` file that keeps the labels. Without it, the whole source is read to
            find them.

    Returns:
        `StoredSamples`.
    """
    rows = np.arange(len(source))
    if labels_file is not None and labels_file.exists():
        labels = np.load(labels_file)
        if len(labels) == len(rows):
            return StoredSamples(source, rows, labels)
    labels = np.fromiter((source[row]["label"] for row in range(len(rows))), "int32", len(rows))
    if labels_file is not None:
        labels_file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = labels_file.with_suffix(".partial.npy")
        np.save(unfinished, labels)
        unfinished.replace(labels_file)  # an interrupted write leaves no labels file
    return StoredSamples(source, rows, labels)
