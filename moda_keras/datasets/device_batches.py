"""Training batches that are cut and mirrored where they are used, on the accelerator."""

from typing import Any

import keras
import numpy as np
from keras import ops

from moda_keras.datasets.augmentation import PADDING, draw_crops
from moda_keras.datasets.epoch_batches import EpochBatches

# Images that take more bytes than this stay in the host's memory.
MAX_BYTES = 8 * 2**30


class DeviceBatches(EpochBatches):
    """The batches of `EpochBatches`, the same to the bit, of images that stay on the device.

    Only the samples' numbers, corners and mirrorings go to the device. All training images are
    kept there, padded, in float32. It is made for PyTorch, where Keras hands tensors through to the
    model; the other backends copy batches to the host and back.

    Args:
        x, y, batch_size, augment, seed: As of `EpochBatches`.
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
        """Int tensor (batch, height, width): where each pixel is among all, found on the device."""
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
    """Whether training images are better kept on the device: on a GPU, with PyTorch, if they fit.

    Args:
        x: Training images, (N, height, width, channels) or channels first.

    Returns:
        Bool.
    """
    if keras.backend.backend() != "torch" or x.nbytes > MAX_BYTES:
        return False
    return ops.zeros(()).device.type != "cpu"


def _padded(x: np.ndarray) -> np.ndarray:
    return np.pad(x, ((0, 0), (PADDING, PADDING), (PADDING, PADDING), (0, 0)))
