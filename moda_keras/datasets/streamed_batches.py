"""Batches of images that are read and decoded while training goes on."""

import os
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from moda_keras.datasets.augmentation import check_augmentation
from moda_keras.datasets.epoch_batches import TrainingBatches, check_batch_size, check_samples
from moda_keras.datasets.image_decoder import ImageDecoder
from moda_keras.datasets.sample_streams import SampleStream
from moda_keras.datasets.tfds_splits import import_tensorflow

# Batches that are decoded ahead.
PREFETCHED = 2


class StreamedEpochBatches(TrainingBatches):
    """Shuffled, augmented batches of a stream; the epoch and the seed decide what they are.

    Batches are full, and come in order: pass `shuffle=False` to `fit`.

    Args:
        samples: The samples.
        decoder: How they become images.
        batch_size: Samples in a batch.
        augment: "crop" takes a random part of each image, "crop_flip" also mirrors at random,
            "none" takes the centre.
        seed: Seed of order and augmentation, an integer >= 0.
        shuffled: How many encoded images wait to be drawn at random: each next one is any of these.
    """

    def __init__(
        self,
        samples: SampleStream,
        decoder: ImageDecoder,
        *,
        batch_size: int = 128,
        augment: str = "crop_flip",
        seed: int = 0,
        shuffled: int = 8192,
    ):
        super().__init__()
        check_augmentation(augment)
        check_batch_size(batch_size)
        check_samples(len(samples.labels))
        self.samples = samples
        self.decoder = decoder
        self.batch_size = min(batch_size, len(samples.labels))
        self.augment = augment
        self.seed = seed
        self.shuffled = shuffled
        self._reader = _Reader()

    def __len__(self) -> int:
        return len(self.samples.labels) // self.batch_size

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        self._note_draw(index)
        return self._reader.read(self.epoch, index, self._open)

    def _open(self) -> Iterator:
        """The batches of the epoch."""
        tf = import_tensorflow()
        order, crops = np.random.SeedSequence((self.seed, self.epoch)).spawn(2)
        shuffled = _shuffle(self.samples.encoded(), self.shuffled, order.generate_state(2))
        seed = tf.constant(crops.generate_state(2).astype("int64"))

        def decode(number: Any, sample: tuple) -> tuple:
            own = tf.random.fold_in(seed, number)
            return self.decoder.random(sample[0], self.augment, own), sample[1]

        batches = _decoded(shuffled.enumerate(), decode, self.batch_size)
        return iter(batches.take(len(self)))


class StreamedOrderedBatches(keras.utils.PyDataset):
    """Batches of a stream in its order: the centre of each image, once.

    Args:
        samples: The samples.
        decoder: How they become images.
        batch_size: Samples in a batch; the last one has what is left.
    """

    def __init__(self, samples: SampleStream, decoder: ImageDecoder, *, batch_size: int = 256):
        super().__init__()
        check_batch_size(batch_size)
        self.samples = samples
        self.decoder = decoder
        self.batch_size = batch_size
        self._reader = _Reader()

    def __len__(self) -> int:
        return -(-len(self.samples.labels) // self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self._reader.read(0, index, self._open)

    def _open(self) -> Iterator:
        def decode(encoded: Any, label: Any) -> tuple:
            return self.decoder.centre(encoded), label

        return iter(_decoded(self.samples.encoded(), decode, self.batch_size))


class _Reader:
    """Gives batches by index as long as they are asked for in order."""

    def __init__(self):
        self.epoch, self.next = None, 0
        self.batches: Iterator = iter(())

    def read(self, epoch: int, index: int, open_batches: Any) -> tuple[np.ndarray, np.ndarray]:
        if index == 0:
            self.epoch, self.next, self.batches = epoch, 0, open_batches()
        if (epoch, index) != (self.epoch, self.next):
            raise ValueError(
                "Expected batches to be asked for one after the other, from 0 on in each epoch, as "
                f"they are read from files. Received: batch {index} of epoch {epoch} instead of "
                f"{self.next}. Pass `shuffle=False` to `fit`: the samples are shuffled already"
            )
        self.next += 1
        images, labels = next(self.batches)
        return images.numpy(), labels.numpy()


def _shuffle(samples: Any, buffer_size: int, seed: np.ndarray) -> Any:
    """`samples.shuffle`, whose result depends also on TensorFlow's global seed."""
    tf = import_tensorflow()
    types = tf.data.experimental.get_structure(samples)
    variant = tf.raw_ops.ShuffleDataset(
        input_dataset=tf.data.experimental.to_variant(samples),
        buffer_size=buffer_size,
        seed=int(seed[0]),
        seed2=int(seed[1]),
        output_types=[each.dtype for each in types],
        output_shapes=[each.shape for each in types],
        reshuffle_each_iteration=False,
    )
    return tf.data.experimental.from_variant(variant, types)


def _decoded(samples: Any, decode: Any, batch_size: int) -> Any:
    tf = import_tensorflow()
    options = tf.data.Options()
    # On the TensorFlow backend, Keras draws these batches from within a pipeline of its own, whose
    # threads they must not wait for.
    options.threading.private_threadpool_size = os.cpu_count() or 1
    images = samples.map(decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return images.batch(batch_size).prefetch(PREFETCHED).with_options(options)
