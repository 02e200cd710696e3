"""A data set: training and test images with their labels."""

import abc
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from moda_keras.datasets.device_batches import DeviceBatches, suits_device
from moda_keras.datasets.epoch_batches import EpochBatches, OrderedBatches
from moda_keras.datasets.pixels import channel_statistics, standardize
from moda_keras.datasets.sample_choice import check_classes, rows_of_classes


class ImageDataset(abc.ABC):
    """What a data set offers, in memory (`Dataset`) or in files (`StreamedDataset`).

    Attributes:
        x_test: Test images, float32 in [0, 1] unless `standardized`, `(samples, height, width,
            channels)`, or `(samples, channels, height, width)` if
            `keras.config.image_data_format()` is `"channels_first"`.
        y_train: Training labels, int32 `(samples,)`: indices into `class_names`.
        y_test: Test labels, like `y_train`.
        class_names: Names of the classes, in the order of the labels.
        augment: The default augmentation of `train_batches`.
        image_shape: Shape of one image.
        channel_statistics: Mean and standard deviation of each channel, as `standardized` uses
            them.
    """

    class_names: tuple[str, ...]
    augment: str

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} of {len(self.class_names)} classes: {len(self.y_train):,} "
            f"training and {len(self.y_test):,} test images of shape {tuple(self.image_shape)}>"
        )

    def train_batches(
        self, batch_size: int = 128, *, augment: str | None = None, seed: int = 0
    ) -> EpochBatches:
        """Shuffled, augmented, full batches of the training images, for `fit(shuffle=False)`.

        Args:
            batch_size: Samples in a batch.
            augment: "crop_flip", "crop" or "none"; by default what suits the data.
            seed: Seed of order and augmentation.

        Returns:
            `EpochBatches`. To be able to resume training, pass its `tell_epoch()` to `fit` as a
            callback.
        """
        return self._train_batches(
            batch_size=batch_size, augment=augment or self.augment, seed=seed
        )

    @abc.abstractmethod
    def _train_batches(self, **arguments: Any) -> EpochBatches:
        """`train_batches` with all arguments given."""

    def unaugmented_batches(self, batch_size: int = 256) -> OrderedBatches:
        """The training images without augmentation, each once, for `decompose`.

        Args:
            batch_size: Samples in a batch; the last one has the rest.

        Returns:
            A `keras.utils.PyDataset`, in the order of `y_train`.
        """
        return OrderedBatches(self._train_images, self.y_train, batch_size=batch_size)

    def test_batches(self, batch_size: int = 256) -> OrderedBatches:
        """The test images, each once, for `evaluate` and `predict`.

        Args:
            batch_size: Samples in a batch; the last one has the rest.

        Returns:
            A `keras.utils.PyDataset`, in the order of `y_test`.
        """
        return OrderedBatches(self._test_images, self.y_test, batch_size=batch_size)

    @abc.abstractmethod
    def standardized(self) -> "ImageDataset":
        """The data with each channel scaled to mean 0 and standard deviation 1.

        The statistics are those of the training images, for streamed data of ImageNet's.

        Returns:
            A new data set; its test images are scaled by the same statistics.
        """

    @abc.abstractmethod
    def of_classes(self, classes: Sequence[int]) -> "ImageDataset":
        """The samples of some classes.

        Args:
            classes: Class indices; a class's position here is its new label.

        Returns:
            A new data set.
        """

    @abc.abstractmethod
    def with_training_samples(self, rows: np.ndarray) -> "ImageDataset":
        """The data with some of the training samples only.

        Args:
            rows: Int array of positions in `y_train`.

        Returns:
            A new data set.
        """

    @abc.abstractmethod
    def digest(self) -> str:
        """A fingerprint: of the content in memory, of the origin of streamed data.

        Returns:
            Str of hexadecimal digits.
        """


@dataclass(frozen=True, eq=False, repr=False)
class Dataset(ImageDataset):
    """A data set in memory; its methods are those of `ImageDataset`.

    Attributes:
        x_train: Training images, float32, in random order, like `x_test`.
        y_train: Training labels.
        x_test: Test images.
        y_test: Test labels.
        class_names: Names of the classes.
        augment: "crop_flip", or "crop" if mirroring would change the class, as with digits.

    Examples:
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

    def _train_batches(self, **arguments: Any) -> EpochBatches:
        batches = DeviceBatches if suits_device(self.x_train) else EpochBatches
        return batches(self.x_train, self.y_train, **arguments)

    @property
    def _train_images(self) -> np.ndarray:
        return self.x_train

    @property
    def _test_images(self) -> np.ndarray:
        return self.x_test

    @property
    def channel_statistics(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each channel over the training images."""
        mean, deviation = channel_statistics(self.x_train)
        return mean.ravel().tolist(), deviation.ravel().tolist()

    def standardized(self) -> "Dataset":
        mean, deviation = channel_statistics(self.x_train)
        x_train, x_test = (standardize(x, mean, deviation) for x in (self.x_train, self.x_test))
        return replace(self, x_train=x_train, x_test=x_test)

    def of_classes(self, classes: Sequence[int]) -> "Dataset":
        check_classes(classes, number := len(self.class_names))
        train, y_train = rows_of_classes(self.y_train, classes, number)
        test, y_test = rows_of_classes(self.y_test, classes, number)
        names = tuple(self.class_names[index] for index in classes)
        return Dataset(self.x_train[train], y_train, self.x_test[test], y_test, names, self.augment)

    def with_training_samples(self, rows: np.ndarray) -> "Dataset":
        return replace(self, x_train=self.x_train[rows], y_train=self.y_train[rows])

    def digest(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for array in (self.x_train, self.y_train, self.x_test, self.y_test):
            digest.update(f"{array.shape}".encode())
            digest.update(array)
        return digest.hexdigest()
