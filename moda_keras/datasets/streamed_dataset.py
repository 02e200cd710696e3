"""A data set whose images are read from files while they are used."""

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from moda_keras.datasets.image_decoder import ImageDecoder
from moda_keras.datasets.sample_streams import SampleStream, samples_at, samples_of_classes
from moda_keras.datasets.small_images import GREY_WEIGHTS
from moda_keras.datasets.standardization import IMAGENET_DEVIATION, IMAGENET_MEAN
from moda_keras.datasets.streamed_batches import StreamedEpochBatches, StreamedOrderedBatches


@dataclass(frozen=True, eq=False)
class StreamedDataset:
    """Training and test images with their labels, none of them in memory.

    It has the methods of `Dataset`. TensorFlow reads and decodes, on every backend. Images are
    float32 as in `Dataset`, in [0, 1] unless `standardized`.

    Attributes:
        train: The training samples.
        test: The test samples.
        class_names: Names of the classes, in the order of the labels.
        decoder: How image files become images.
        name: What the samples are, for `digest`.
        augment: The augmentation that suits the images.

    Example:
        ```python
        dogs = mk.datasets.load("imagenet100d").standardized()
        batches = dogs.train_batches(128)
        model.fit(batches, epochs=200, shuffle=False, callbacks=[batches.tell_epoch()])
        modules = mk.decompose(model, dogs.unaugmented_batches())
        ```
    """

    train: SampleStream
    test: SampleStream
    class_names: tuple[str, ...]
    decoder: ImageDecoder
    name: str = field(repr=False)
    augment: str = "crop_flip"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of one image."""
        return self.decoder.image_shape

    @property
    def x_train(self) -> np.ndarray:
        """There is none."""
        raise AttributeError(
            "The training images of streamed data are not in memory. Use `train_batches()` to "
            "train, or `unaugmented_batches()`, which `decompose` and `predict` take"
        )

    @property
    def y_train(self) -> np.ndarray:
        """Training labels, int32 (samples,), in the order of `unaugmented_batches`."""
        return self.train.labels

    @property
    def y_test(self) -> np.ndarray:
        """Test labels, int32 (samples,)."""
        return self.test.labels

    @functools.cached_property
    def x_test(self) -> np.ndarray:
        """All test images, read into memory: 600 kB for each of 224x224."""
        images = np.empty((len(self.y_test), *self.image_shape), "float32")
        start = 0
        for x, _ in self.test_batches():
            images[start : start + len(x)] = x
            start += len(x)
        return images

    def train_batches(
        self, batch_size: int = 128, *, augment: str | None = None, seed: int = 0
    ) -> StreamedEpochBatches:
        """Shuffled, augmented, full batches of the training images, for `fit(shuffle=False)`.

        Args:
            batch_size: Samples in a batch.
            augment: "crop_flip" (a random part of the image, resized and mirrored at random),
                "crop" or "none"; by default what suits the data.
            seed: Seed of order and augmentation.

        Returns:
            `StreamedEpochBatches`; pass its `tell_epoch()` to `fit` where a training may be
            resumed.
        """
        augment = augment or self.augment
        return StreamedEpochBatches(
            self.train, self.decoder, batch_size=batch_size, augment=augment, seed=seed
        )

    def unaugmented_batches(self, batch_size: int = 256) -> StreamedOrderedBatches:
        """The centres of the training images, each once, for `decompose`.

        Args:
            batch_size: Samples in a batch; the last one has what is left.

        Returns:
            A `keras.utils.PyDataset`.
        """
        return StreamedOrderedBatches(self.train, self.decoder, batch_size=batch_size)

    def test_batches(self, batch_size: int = 256) -> StreamedOrderedBatches:
        """The centres of the test images, each once: for `evaluate` and `predict`.

        Args:
            batch_size: Samples in a batch; the last one has what is left.

        Returns:
            A `keras.utils.PyDataset`.
        """
        return StreamedOrderedBatches(self.test, self.decoder, batch_size=batch_size)

    @property
    def channel_statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel over ImageNet's training images."""
        mean, deviation = IMAGENET_MEAN, IMAGENET_DEVIATION
        if self.decoder.color == "grey":
            mean, deviation = (float(GREY_WEIGHTS @ mean),), (float(GREY_WEIGHTS @ deviation),)
        return mean, deviation

    def standardized(self) -> "StreamedDataset":
        """The data with the channels of ImageNet's training images at mean 0 and deviation 1.

        Returns:
            A new `StreamedDataset`.
        """
        mean, deviation = self.channel_statistics
        return replace(self, decoder=replace(self.decoder, mean=mean, deviation=deviation))

    def of_classes(self, classes: Sequence[int]) -> "StreamedDataset":
        """The samples of some classes.

        Args:
            classes: Class indices; the new labels are the places in here.

        Returns:
            A new `StreamedDataset`.
        """
        classes, number = list(classes), len(self.class_names)
        return replace(
            self,
            train=samples_of_classes(self.train, classes, number),
            test=samples_of_classes(self.test, classes, number),
            class_names=tuple(self.class_names[index] for index in classes),
            name=f"{self.name}/{classes}",
        )

    def with_training_samples(self, rows: np.ndarray) -> "StreamedDataset":
        """The data with some of the training samples only.

        Args:
            rows: Int array: which ones, as places in `y_train`.

        Returns:
            A new `StreamedDataset`.
        """
        text = np.sort(rows).astype("<i8").tobytes()
        name = f"{self.name}/{hashlib.blake2b(text, digest_size=8).hexdigest()}"
        return replace(self, train=samples_at(self.train, rows), name=name)

    def digest(self) -> str:
        """Tells data sets apart by what they are made of; no image is read.

        Returns:
            Str of hexadecimal digits.
        """
        text = repr((self.name, self.class_names, self.decoder, self.image_shape))
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
