"""Image data sets by name or from folders, in memory or streamed, with the papers' augmentation.

`load` gives a `Dataset` (arrays) or a `StreamedDataset` (ImageNet, Stanford Dogs). Both have
`train_batches`, `unaugmented_batches` and `test_batches`, which `fit`, `decompose`, `evaluate` and
`predict` take on every backend.
"""

from moda_keras.datasets.augmentation import AUGMENTATIONS
from moda_keras.datasets.dataset import Dataset
from moda_keras.datasets.device_batches import DeviceBatches
from moda_keras.datasets.epoch_batches import EpochBatches, TrainingBatches
from moda_keras.datasets.imagenet_classes import choose_imagenet_classes
from moda_keras.datasets.load import NAMES, load
from moda_keras.datasets.streamed_batches import StreamedEpochBatches
from moda_keras.datasets.streamed_dataset import StreamedDataset

__all__ = [
    "AUGMENTATIONS",
    "NAMES",
    "Dataset",
    "DeviceBatches",
    "EpochBatches",
    "StreamedDataset",
    "StreamedEpochBatches",
    "TrainingBatches",
    "choose_imagenet_classes",
    "load",
]
