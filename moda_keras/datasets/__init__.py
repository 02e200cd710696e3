"""Image data sets by name or from folders, in memory or streamed, with the papers' augmentation.

`load` returns a `Dataset` (in memory) or a `StreamedDataset` (ImageNet, Stanford Dogs). Their
`train_batches`, `unaugmented_batches` and `test_batches` go into `fit`, `decompose`, `evaluate` and
`predict` on every backend.
"""

from moda_keras.datasets.augmentation import AUGMENTATIONS
from moda_keras.datasets.data_settings import DataSettings
from moda_keras.datasets.dataset import Dataset, ImageDataset
from moda_keras.datasets.device_batches import DeviceBatches
from moda_keras.datasets.epoch_batches import EpochBatches, TrainingBatches
from moda_keras.datasets.load import NAMES, load
from moda_keras.datasets.pixels import scale_pixels
from moda_keras.datasets.sample_choice import choose_imagenet_classes
from moda_keras.datasets.streamed_batches import StreamedEpochBatches
from moda_keras.datasets.streamed_dataset import StreamedDataset

__all__ = [
    "AUGMENTATIONS",
    "NAMES",
    "DataSettings",
    "Dataset",
    "DeviceBatches",
    "EpochBatches",
    "ImageDataset",
    "StreamedDataset",
    "StreamedEpochBatches",
    "TrainingBatches",
    "choose_imagenet_classes",
    "load",
    "scale_pixels",
]
