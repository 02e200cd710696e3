"""Batches of images, shuffled by seed and epoch alone, or in order."""

import functools
from numbers import Integral
from typing import Any

import keras
import numpy as np

from moda_keras.datasets.augmentation import check_augmentation, pad_crop_flip


class TrainingBatches(keras.utils.PyDataset):
    """Batches that depend only on a seed and the epoch, so that training can be resumed.

    Keras announces that an epoch begins, but not which one. By default these batches count the
    epochs that were drawn to their end. Pass `tell_epoch()` as a callback to `fit` to get the
    right epoch when training is resumed, and when an epoch is a single batch (Keras draws the first
    batch once more to inspect it). Pass `shuffle=False` to `fit` to keep the order of the batches.

    Attributes:
        epoch: The epoch whose batches are drawn.
    """

    def __init__(self):
        super().__init__()
        self.epoch = 0
        self._is_told = self._is_complete = False

    def tell_epoch(self) -> keras.callbacks.Callback:
        """The callback that sets `epoch` when an epoch begins."""
        return keras.callbacks.LambdaCallback(on_epoch_begin=self._set_epoch)

    def _set_epoch(self, epoch: int, logs: dict | None = None) -> None:
        self.epoch = epoch
        self._is_told = True

    def on_epoch_begin(self) -> None:
        # Keras also begins an epoch to inspect the first batch, and then abandons it.
        if self._is_complete and not self._is_told:
            self.epoch += 1
        self._is_told = self._is_complete = False

    def _note_draw(self, index: int) -> None:
        """Subclasses call this for each batch that is drawn."""
        self._is_complete |= index == len(self) - 1


class EpochBatches(TrainingBatches):
    """Shuffled, augmented batches of arrays.

    All batches are full. The samples that do not fill a batch are left out; they differ from epoch
    to epoch.

    Args:
        x: Images (N, height, width, channels), or channels first if Keras is so configured.
        y: Labels (N,).
        batch_size: Samples in a batch.
        augment: "crop" pads by 4 pixels of zero and crops at random, "crop_flip" also mirrors at
            random (the papers' augmentation), "none" does neither.
        seed: Seed of order and augmentation, an integer >= 0.
    """

    def __init__(
        self,
        x: Any,
        y: np.ndarray,
        *,
        batch_size: int = 128,
        augment: str = "crop_flip",
        seed: int = 0,
    ):
        super().__init__()
        check_augmentation(augment)
        _check_batch_size(batch_size)
        if not len(y):
            raise ValueError("Expected at least one training sample. Received: no samples")
        self.x = x
        self.y = y
        self.batch_size = min(batch_size, len(y))
        self.augment = augment
        self.seed = seed

    def __len__(self) -> int:
        return len(self.y) // self.batch_size

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        rows, random = self.draw(index)
        return pad_crop_flip(self.x[rows], self.augment, random), self.y[rows]

    def draw(self, index: int) -> tuple[np.ndarray, np.random.Generator]:
        """The rows of a batch of this epoch, and the generator of its augmentation."""
        self._note_draw(index)
        return self.draw_of(self.epoch, index)

    def draw_of(self, epoch: int, index: int) -> tuple[np.ndarray, np.random.Generator]:
        """As `draw`, for any epoch; the batch does not count as drawn."""
        order = _order_of_epoch(self.seed, epoch, len(self.y))
        rows = order[index * self.batch_size : (index + 1) * self.batch_size]
        return rows, np.random.default_rng((self.seed, epoch, index))


class OrderedBatches(keras.utils.PyDataset):
    """Batches of arrays in their order, each sample once.

    Args:
        x: Inputs (N, ...).
        y: Labels (N,).
        batch_size: Samples in a batch; the last one has the rest.
    """

    def __init__(self, x: Any, y: np.ndarray, *, batch_size: int = 256):
        super().__init__()
        _check_batch_size(batch_size)
        self.x = x
        self.y = y
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.y) // self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rows = slice(index * self.batch_size, (index + 1) * self.batch_size)
        return self.x[rows], self.y[rows]


@functools.lru_cache(maxsize=2)
def _order_of_epoch(seed: int, epoch: int, samples: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(samples)


def _check_batch_size(batch_size: int) -> None:
    if not isinstance(batch_size, Integral) or batch_size < 1:
        raise ValueError(
            f"Expected `batch_size` to be a positive integer. Received: batch_size={batch_size!r}"
        )
