"""Training batches that are cropped and mirrored on the accelerator."""

from typing import Any

import keras
import numpy as np
from keras import ops

from moda_keras.datasets.augmentation import PADDING, draw_crops
from moda_keras.datasets.epoch_batches import EpochBatches

# Larger data stays in the host's memory.
MAX_BYTES = 8 * 2**30


class DeviceBatches(EpochBatches):
    """`EpochBatches` with the images on the device: the same batches, bit for bit.

    All training images are kept on the device, padded, in float32. A step sends only row numbers,
    corners and mirroring flags there. This pays off with PyTorch, where Keras passes tensors on to
    the model; the other backends copy batches to the host and back.

    Args:
        x, y, batch_size, augment, seed: As for `EpochBatches`.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, **arguments: Any):
        super().__init__(x, y, **arguments)
        is_first = keras.config.image_data_format() == "channels_first"
        padded = _padded(np.moveaxis(x, 1, -1) if is_first else x)
        self._is_first = is_first
        self._shape = padded.shape
        self._pixels = ops.convert_to_tensor(padded.reshape(-1, padded.shape[-1]))
        self._labels = ops.convert_to_tensor(y)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        rows, random = self.draw(index)
        corners, is_mirrored = draw_crops(len(rows), self.augment, random)
        pixels = ops.take(self._pixels, self._places(rows, corners, is_mirrored), axis=0)
        images = ops.transpose(pixels, (0, 3, 1, 2)) if self._is_first else pixels
        return images, ops.take(self._labels, ops.convert_to_tensor(rows), axis=0)

    def _places(self, rows: np.ndarray, corners: np.ndarray, is_mirrored: np.ndarray) -> Any:
        """Int tensor (batch, height, width): the index of each pixel among all pixels."""
        _, height, width, _ = self._shape
        drawn = np.concatenate([rows[:, None], corners, is_mirrored[:, None]], axis=1)
        sample, top, left, mirrored = (
            ops.reshape(column, (-1, 1, 1))
            for column in ops.unstack(ops.convert_to_tensor(drawn.astype("int64")), axis=1)
        )
        down = ops.reshape(ops.arange(height - 2 * PADDING, dtype="int64"), (1, -1, 1))
        across = ops.reshape(ops.arange(width - 2 * PADDING, dtype="int64"), (1, 1, -1))
        across = across + mirrored * (width - 2 * PADDING - 1 - 2 * across)
        return (sample * height + top + down) * width + left + across


def suits_device(x: np.ndarray) -> bool:
    """Whether to keep training images on the device: with PyTorch on a GPU, if they fit."""
    if keras.backend.backend() != "torch" or x.nbytes > MAX_BYTES:
        return False
    return ops.zeros(()).device.type != "cpu"


def _padded(x: np.ndarray) -> np.ndarray:
    return np.pad(x, ((0, 0), (PADDING, PADDING), (PADDING, PADDING), (0, 0)))
