"""A data set whose images are in memory."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from moda_keras.datasets.device_batches import DeviceBatches, suits_device
from moda_keras.datasets.epoch_batches import EpochBatches, OrderedBatches
from moda_keras.datasets.sample_choice import places_of
from moda_keras.datasets.standardization import channel_statistics, standardize


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test images with their labels.

    Attributes:
        x_train: Training images, float32, as `load` gives them in [0, 1], `(samples, height, width,
            channels)`, or `(samples, channels, height, width)` where
            `keras.config.image_data_format()` is `"channels_first"`. In random order.
        y_train: Training labels, int32, `(samples,)`: indices into `class_names`.
        x_test: Test images, like `x_train`.
        y_test: Test labels, like `y_train`.
        class_names: Names of the classes, in the order of the labels.
        augment: The augmentation that suits the images: "crop_flip", or "crop" where a mirrored
            image is none of its class, as with digits.

    Example:
        >>> from moda_keras import datasets
        >>> digits = datasets.load("digits", image_size=16).standardized()
        >>> batches = digits.train_batches(64, seed=1)
        >>> batches.augment, len(batches), batches[0][0].shape
        ('crop', 22, (64, 16, 16, 1))
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    class_names: tuple[str, ...]
    augment: str = "crop_flip"

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of one image."""
        return self.x_train.shape[1:]

    def train_batches(
        self, batch_size: int = 128, *, augment: str | None = None, seed: int = 0
    ) -> EpochBatches:
        """Shuffled, augmented, full batches of the training images, for `fit(shuffle=False)`.

        Args:
            batch_size: Samples in a batch.
            augment: "crop_flip", "crop" or "none"; by default what suits the data.
            seed: Seed of order and augmentation.

        Returns:
            `EpochBatches`, or on a GPU with PyTorch `DeviceBatches`; pass the `tell_epoch()` of
            either to `fit` where a training may be resumed.
        """
        augment = augment or self.augment
        batches = DeviceBatches if suits_device(self.x_train) else EpochBatches
        return batches(
            self.x_train, self.y_train, batch_size=batch_size, augment=augment, seed=seed
        )

    def unaugmented_batches(self, batch_size: int = 256) -> OrderedBatches:
        """The training images as they are, each once, for `decompose`.

        Args:
            batch_size: Samples in a batch; the last one has what is left.

        Returns:
            A `keras.utils.PyDataset`.
        """
        return OrderedBatches(self.x_train, self.y_train, batch_size=batch_size)

    def test_batches(self, batch_size: int = 256) -> OrderedBatches:
        """The test images, each once, in the order of `y_test`: for `evaluate` and `predict`.

        Args:
            batch_size: Samples in a batch; the last one has what is left.

        Returns:
            A `keras.utils.PyDataset`.
        """
        return OrderedBatches(self.x_test, self.y_test, batch_size=batch_size)

    @property
    def channel_statistics(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each channel over the training images."""
        mean, deviation = channel_statistics(self.x_train)
        return mean.ravel().tolist(), deviation.ravel().tolist()

    def standardized(self) -> "Dataset":
        """The data with mean 0 and deviation 1 in each channel of the training images.

        Returns:
            A new `Dataset`; the test images are scaled alike.
        """
        mean, deviation = channel_statistics(self.x_train)
        x_train, x_test = (standardize(x, mean, deviation) for x in (self.x_train, self.x_test))
        return replace(self, x_train=x_train, x_test=x_test)

    def of_classes(self, classes: Sequence[int]) -> "Dataset":
        """The samples of some classes.

        Args:
            classes: Class indices; the new labels are the places in here.

        Returns:
            A new `Dataset`.
        """
        places = places_of(classes, len(self.class_names))
        train, test = places[self.y_train], places[self.y_test]
        return replace(
            self,
            x_train=self.x_train[train >= 0],
            y_train=train[train >= 0],
            x_test=self.x_test[test >= 0],
            y_test=test[test >= 0],
            class_names=tuple(self.class_names[index] for index in classes),
        )

    def with_training_samples(self, rows: np.ndarray) -> "Dataset":
        """The data with some of the training samples only.

        Args:
            rows: Int array: which ones, as places in `y_train`.

        Returns:
            A new `Dataset`.
        """
        return replace(self, x_train=self.x_train[rows], y_train=self.y_train[rows])

    def digest(self) -> str:
        """Tells data sets apart by their contents.

        Returns:
            Str of hexadecimal digits.
        """
        digest = hashlib.blake2b(digest_size=16)
        for array in (self.x_train, self.y_train, self.x_test, self.y_test):
            digest.update(f"{array.shape}".encode())
            digest.update(array)
        return digest.hexdigest()
