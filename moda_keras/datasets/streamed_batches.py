"""Batches of images that are read and decoded while they are used."""

import functools
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from moda_keras.datasets.epoch_batches import EpochBatches, OrderedBatches
from moda_keras.datasets.image_decoder import ImageDecoder
from moda_keras.datasets.stored_samples import StoredSamples


class StreamedEpochBatches(EpochBatches):
    """`EpochBatches` of images in files.

    Args:
        samples: The samples.
        decoder: Turns them into images.
        batch_size: Samples in a batch.
        augment: "crop" takes a random part of each image, "crop_flip" also mirrors at random,
            "none" takes the center.
        seed: Seed of order and augmentation, an integer >= 0.
    """

    def __init__(
        self,
        samples: StoredSamples,
        decoder: ImageDecoder,
        *,
        batch_size: int = 128,
        augment: str = "crop_flip",
        seed: int = 0,
    ):
        super().__init__(samples, samples.labels, batch_size=batch_size, augment=augment, seed=seed)
        self.decoder = decoder
        self._images = _ReadAhead(self._decode)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rows, _ = self.draw(index)
        following = (self.epoch, index + 1) if index + 1 < len(self) else None
        return self._images.take((self.epoch, index), following), self.y[rows]

    def _decode(self, key: tuple[int, int]) -> list[Future]:
        rows, random = self.draw_of(*key)
        return [
            _threads().submit(self._decode_one, row, own)
            for row, own in zip(rows, random.spawn(len(rows)), strict=True)
        ]

    def _decode_one(self, row: int, random: np.random.Generator) -> np.ndarray:
        return self.decoder.random(self.x.encoded(row), self.augment, random)


class StreamedOrderedBatches(OrderedBatches):
    """`OrderedBatches` of images in files: the center of each.

    Args:
        samples: The samples.
        decoder: Turns them into images.
        batch_size: Samples in a batch; the last one has the rest.
    """

    def __init__(self, samples: StoredSamples, decoder: ImageDecoder, *, batch_size: int = 256):
        super().__init__(samples, samples.labels, batch_size=batch_size)
        self.decoder = decoder
        self._images = _ReadAhead(self._decode)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        following = index + 1 if index + 1 < len(self) else None
        return self._images.take(index, following), self.y[self.rows(index)]

    def _decode(self, index: int) -> list[Future]:
        rows = range(len(self.y))[self.rows(index)]
        return [_threads().submit(self._decode_one, row) for row in rows]

    def _decode_one(self, row: int) -> np.ndarray:
        return self.decoder.center(self.x.encoded(row))


class _ReadAhead:
    """Decodes the next batch while the model works on the current one.

    The `workers` of `keras.utils.PyDataset` do not fit: they start to draw an epoch before
    `on_epoch_begin` is called.

    Args:
        start: Called with the key of a batch. Returns the futures of its images.
    """

    def __init__(self, start: Callable[[Any], list[Future]]):
        self.start = start
        self.key: Any = None
        self.images: list[Future] = []

    def take(self, key: Any, following: Any) -> np.ndarray:
        """The images of a batch; starts to decode the following batch unless it is None."""
        if key != self.key:
            for image in self.images:
                image.cancel()
            self.images = self.start(key)
        images = self.images
        self.key, self.images = following, [] if following is None else self.start(following)
        return np.stack([image.result() for image in images])


@functools.cache
def _threads() -> ThreadPoolExecutor:
    # Threads suffice: Pillow and array_record release the GIL.
    return ThreadPoolExecutor(os.cpu_count(), "moda_keras_images")
