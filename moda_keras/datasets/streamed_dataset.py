"""A data set whose images are read from files while they are used."""

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from moda_keras.datasets.dataset import ImageDataset
from moda_keras.datasets.image_decoder import ImageDecoder
from moda_keras.datasets.pixels import GREY_WEIGHTS, IMAGENET_DEVIATION, IMAGENET_MEAN
from moda_keras.datasets.sample_choice import check_classes, rows_of_classes
from moda_keras.datasets.stored_samples import StoredSamples
from moda_keras.datasets.streamed_batches import StreamedEpochBatches, StreamedImages


@dataclass(frozen=True, eq=False, repr=False)
class StreamedDataset(ImageDataset):
    """A data set in files; its methods are those of `ImageDataset`.

    Training takes random parts of the images, everything else their centers.

    Attributes:
        train: The training samples.
        test: The test samples.
        class_names: Names of the classes.
        decoder: Turns image files into images.
        name: The origin of the samples, for `digest`.
        augment: The default augmentation.

    Examples:
        ```python
        dogs = mk.datasets.load("imagenet100d").standardized()
        batches = dogs.train_batches(128)
        model.fit(batches, epochs=200, shuffle=False, callbacks=[batches.tell_epoch()])
        modules = mk.decompose(model, dogs.unaugmented_batches())
        ```
    """

    train: StoredSamples
    test: StoredSamples
    class_names: tuple[str, ...]
    decoder: ImageDecoder
    name: str
    augment: str = "crop_flip"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of one image."""
        return self.decoder.image_shape

    @property
    def x_train(self) -> np.ndarray:
        """Not available: the training images are not in memory."""
        raise AttributeError(
            "The training images of streamed data are not in memory. Use `train_batches()` to "
            "train, or pass `unaugmented_batches()` to `decompose` and `predict`"
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
        """All test images, read into memory: 600 kB per image of 224x224."""
        return self._test_images[:]

    @property
    def _train_images(self) -> StreamedImages:
        return StreamedImages(self.train, self.decoder)

    @property
    def _test_images(self) -> StreamedImages:
        return StreamedImages(self.test, self.decoder)

    def _train_batches(self, **arguments: Any) -> StreamedEpochBatches:
        return StreamedEpochBatches(self._train_images, self.y_train, **arguments)

    @property
    def channel_statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel over ImageNet's training images."""
        mean, deviation = IMAGENET_MEAN, IMAGENET_DEVIATION
        if self.decoder.color == "grey":
            mean, deviation = (float(GREY_WEIGHTS @ mean),), (float(GREY_WEIGHTS @ deviation),)
        return mean, deviation

    def standardized(self) -> "StreamedDataset":
        mean, deviation = self.channel_statistics
        return replace(self, decoder=replace(self.decoder, mean=mean, deviation=deviation))

    def of_classes(self, classes: Sequence[int]) -> "StreamedDataset":
        classes = list(classes)
        check_classes(classes, number := len(self.class_names))
        return replace(
            self,
            train=self.train.select(*rows_of_classes(self.y_train, classes, number)),
            test=self.test.select(*rows_of_classes(self.y_test, classes, number)),
            class_names=tuple(self.class_names[index] for index in classes),
            name=f"{self.name}/{classes}",
        )

    def with_training_samples(self, rows: np.ndarray) -> "StreamedDataset":
        text = np.sort(rows).astype("<i8").tobytes()
        name = f"{self.name}/{hashlib.blake2b(text, digest_size=8).hexdigest()}"
        return replace(self, train=self.train.select(rows, self.y_train[rows]), name=name)

    def digest(self) -> str:
        text = repr((self.name, self.class_names, self.decoder, self.image_shape))
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
