"""Training batches that depend on seed and epoch alone, so that training can be resumed."""

import keras
import numpy as np

AUGMENTATIONS = ("none", "crop", "crop_flip")
PADDING = 4


class EpochBatches(keras.utils.PyDataset):
    """Shuffled, augmented batches; those of an epoch are the same whenever they are drawn.

    Keras says nothing to a data set about epochs; `tell_epoch` gives the callback that does.
    Batches are full: what is left of the samples is left out, another part in every epoch.

    Args:
        x: Images (N, height, width, channels), or channels first where Keras is so configured.
        y: Labels (N,).
        batch_size: Samples in a batch.
        augment: "crop" pads by 4 pixels of zero and crops at random, "crop_flip" also mirrors at
            random (the paper's), "none" does neither.
        seed: Seed of order and augmentation.
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
        self.x = x
        self.y = y
        self.batch_size = min(batch_size, len(y))
        self.augment = augment
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.y) // self.batch_size

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self.y))
        rows = order[index * self.batch_size : (index + 1) * self.batch_size]
        random = np.random.default_rng((self.seed, self.epoch, index))
        return _augment(self.x[rows], self.augment, random), self.y[rows]

    def tell_epoch(self) -> keras.callbacks.Callback:
        """The callback that sets `epoch` at the beginning of each."""
        return keras.callbacks.LambdaCallback(on_epoch_begin=self._set_epoch)

    def _set_epoch(self, epoch: int, logs: dict | None = None) -> None:
        self.epoch = epoch


def _augment(x: np.ndarray, how: str, random: np.random.Generator) -> np.ndarray:
    if how == "none":
        return x
    is_first = keras.config.image_data_format() == "channels_first"
    x = np.moveaxis(x, 1, -1) if is_first else x
    height, width = x.shape[1:3]
    padded = np.pad(x, ((0, 0), (PADDING, PADDING), (PADDING, PADDING), (0, 0)))
    corners = random.integers(0, 2 * PADDING + 1, (len(x), 2))
    x = np.stack(
        [
            image[top : top + height, left : left + width]
            for image, (top, left) in zip(padded, corners, strict=True)
        ]
    )
    if how == "crop_flip":
        flip = random.random(len(x)) < 0.5
        x[flip] = x[flip, :, ::-1]
    return np.ascontiguousarray(np.moveaxis(x, -1, 1)) if is_first else x
