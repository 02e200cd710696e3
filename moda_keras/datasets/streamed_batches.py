"""Images that are read and decoded while they are used."""

import functools
import os
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from moda_keras.datasets.epoch_batches import EpochBatches
from moda_keras.datasets.image_decoder import ImageDecoder
from moda_keras.datasets.stored_samples import StoredSamples


@dataclass(frozen=True, eq=False)
class StreamedImages:
    """Images in files, indexed like an array. Threads decode them.

    Attributes:
        samples: The image files.
        decoder: Turns them into images.
    """

    samples: StoredSamples
    decoder: ImageDecoder

    def __getitem__(self, rows: slice) -> np.ndarray:
        """The centers of some images, float32 (n, *image_shape)."""
        numbers = range(len(self.samples.labels))[rows]
        return self._stack(len(numbers), _threads().map(self._center, numbers))

    def crops(self, rows: np.ndarray, augment: str, random: np.random.Generator) -> np.ndarray:
        """Random parts of some images, as `ImageDecoder.random` draws them."""
        decode = functools.partial(self._random, augment=augment)
        return self._stack(len(rows), _threads().map(decode, rows, random.spawn(len(rows))))

    def _center(self, row: int) -> np.ndarray:
        return self.decoder.center(self.samples.encoded(row))

    def _random(self, row: int, random: np.random.Generator, augment: str) -> np.ndarray:
        return self.decoder.random(self.samples.encoded(row), augment, random)

    def _stack(self, number: int, images: Iterable[np.ndarray]) -> np.ndarray:
        stacked = np.empty((number, *self.decoder.image_shape), "float32")
        for index, image in enumerate(images):
            stacked[index] = image
        return stacked


@functools.cache
def _threads() -> ThreadPoolExecutor:
    # Threads suffice: Pillow and array_record release the GIL.
    return ThreadPoolExecutor(os.cpu_count(), "moda_keras_images")


class StreamedEpochBatches(EpochBatches):
    """`EpochBatches` of `StreamedImages`, with random parts of the images as augmentation.

    The next batch is decoded while the model works on the current one. The `workers` of
    `keras.utils.PyDataset` would start to draw an epoch before `on_epoch_begin` is called.

    Args:
        x: `StreamedImages`.
        y, batch_size, augment, seed: As for `EpochBatches`.
    """

    def __init__(self, x: StreamedImages, y: np.ndarray, **arguments: Any):
        super().__init__(x, y, **arguments)
        self._thread = ThreadPoolExecutor(1, "moda_keras_batches")
        self._ahead: dict[tuple[int, int], Future] = {}

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rows, _ = self.draw(index)
        images = self._ahead.pop((self.epoch, index), None) or self._start(self.epoch, index)
        self._ahead = {}
        if index + 1 < len(self):
            self._ahead[self.epoch, index + 1] = self._start(self.epoch, index + 1)
        return images.result(), self.y[rows]

    def _start(self, epoch: int, index: int) -> Future:
        rows, random = self.draw_of(epoch, index)
        return self._thread.submit(self.x.crops, rows, self.augment, random)
