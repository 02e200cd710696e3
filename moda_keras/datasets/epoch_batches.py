"""Training batches that depend on seed and epoch alone, so that training can be resumed."""

import functools
from numbers import Integral

import keras
import numpy as np

from moda_keras.datasets.augmentation import check_augmentation, pad_crop_flip


class TrainingBatches(keras.utils.PyDataset):
    """Batches whose content is fixed by a seed and the number of the epoch.

    Keras tells a data set that an epoch begins, but not which: without more, the one after the last
    that was drawn to its end. A training that is resumed passes `tell_epoch()` among its callbacks,
    and so does one whose epochs are a single batch, which Keras draws once more to look at it.
    Pass `shuffle=False` to `fit`, which would else deal the batches out in an order of its own.

    Attributes:
        epoch: The epoch whose batches are drawn.
    """

    def __init__(self):
        super().__init__()
        self.epoch = 0
        self._is_told = self._is_complete = False

    def tell_epoch(self) -> keras.callbacks.Callback:
        """The callback that sets `epoch` at the beginning of each."""
        return keras.callbacks.LambdaCallback(on_epoch_begin=self._set_epoch)

    def _set_epoch(self, epoch: int, logs: dict | None = None) -> None:
        self.epoch = epoch
        self._is_told = True

    def on_epoch_begin(self) -> None:
        # Keras also begins an epoch to see what a batch is like, and breaks it off.
        if self._is_complete and not self._is_told:
            self.epoch += 1
        self._is_told = self._is_complete = False

    def _note_draw(self, index: int) -> None:
        """For subclasses to say which batch is drawn."""
        self._is_complete |= index == len(self) - 1


class EpochBatches(TrainingBatches):
    """Shuffled, augmented batches of arrays.

    Batches are full: what is left of the samples is left out, another part in every epoch.

    Args:
        x: Images (N, height, width, channels), or channels first where Keras is so configured.
        y: Labels (N,).
        batch_size: Samples in a batch.
        augment: "crop" pads by 4 pixels of zero and crops at random, "crop_flip" also mirrors at
            random (the paper's), "none" does neither.
        seed: Seed of order and augmentation, an integer >= 0.
    """

    def __init__(
        self,
        x: np.ndarray,
        y: np.ndarray,
        *,
        batch_size: int = 128,
        augment: str = "crop_flip",
        seed: int = 0,
    ):
        super().__init__()
        check_augmentation(augment)
        check_batch_size(batch_size)
        check_samples(len(y))
        self.x = x
        self.y = y
        self.batch_size = min(batch_size, len(y))
        self.augment = augment
        self.seed = seed

    def __len__(self) -> int:
        return len(self.y) // self.batch_size

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rows, random = self.draw(index)
        return pad_crop_flip(self.x[rows], self.augment, random), self.y[rows]

    def draw(self, index: int) -> tuple[np.ndarray, np.random.Generator]:
        """Which samples a batch of this epoch has, and where its augmentation takes chance from.

        Args:
            index: The batch.

        Returns:
            Int array (batch_size,) and a generator.
        """
        self._note_draw(index)
        order = _order_of_epoch(self.seed, self.epoch, len(self.y))
        rows = order[index * self.batch_size : (index + 1) * self.batch_size]
        return rows, np.random.default_rng((self.seed, self.epoch, index))


class OrderedBatches(keras.utils.PyDataset):
    """Batches of arrays in their order, each sample once.

    Args:
        x: Inputs (N, ...).
        y: Labels (N,).
        batch_size: Samples in a batch; the last one has what is left.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, *, batch_size: int = 256):
        super().__init__()
        check_batch_size(batch_size)
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


def check_samples(samples: int) -> None:
    """Raises a ValueError if there are none.

    Args:
        samples: How many training samples there are.
    """
    if not samples:
        raise ValueError("Expected at least one training sample. Received: data with none")


def check_batch_size(batch_size: int) -> None:
    """Raises a ValueError if it is not positive.

    Args:
        batch_size: Samples in a batch.
    """
    if not isinstance(batch_size, Integral) or batch_size < 1:
        raise ValueError(
            f"Expected a positive integer `batch_size`. Received: batch_size={batch_size!r}"
        )
