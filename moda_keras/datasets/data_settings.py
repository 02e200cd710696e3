"""The arguments of `load` as one value."""

from dataclasses import dataclass, field, fields
from pathlib import Path

from moda_keras.datasets.dataset import Dataset
from moda_keras.datasets.load import load
from moda_keras.datasets.streamed_dataset import StreamedDataset


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """The arguments of `load`, for configuration files and command lines to inherit.

    Each field has a line of help in its `metadata`. The names are those of `load`, but `data` for
    `name` and `data_seed` for `seed`, which would be ambiguous among the settings of an experiment.

    Example:
        >>> from moda_keras.datasets import DataSettings
        >>> DataSettings(data="digits", image_size=16, samples_per_class=10).load_data().image_shape
        (16, 16, 1)
    """

    data: str = field(
        default="digits",
        metadata={
            "help": "Name of a data set, or a folder of images: train/CLASS/* and test/CLASS/*."
        },
    )
    image_size: int | None = field(
        default=None,
        metadata={"help": "Height and width in pixels; by default the size of the images."},
    )
    color: str | None = field(
        default=None, metadata={"help": "grey or rgb; by default the color of the images."}
    )
    class_names: tuple[str, ...] | None = field(
        default=None,
        metadata={"help": "The classes to load, in the order of their labels; by default all."},
    )
    samples_per_class: int | None = field(
        default=None, metadata={"help": "Maximum number of training images per class."}
    )
    test_samples_per_class: int | None = field(
        default=None, metadata={"help": "Maximum number of test images per class."}
    )
    test_fraction: float = field(
        default=0.2, metadata={"help": "Fraction of the digits held out for testing."}
    )
    data_seed: int = field(
        default=0, metadata={"help": "Seed of the choice of images and of the split of the digits."}
    )
    extra: bool | None = field(
        default=None,
        metadata={"help": "SVHN: whether to train on the extra split too; by default yes."},
    )
    download: bool = field(
        default=False, metadata={"help": "Download the data set if it is not on this machine."}
    )
    data_dir: str | Path | None = field(
        default=None, metadata={"help": "Folder of the prepared data of tensorflow-datasets."}
    )
    cache: str | Path | None = field(
        default=None, metadata={"help": "ImageNet and Stanford Dogs: folder that keeps the labels."}
    )

    def load_data(self) -> Dataset | StreamedDataset:
        """Loads the data.

        Returns:
            What `load` returns.
        """
        settings = {each.name: getattr(self, each.name) for each in fields(DataSettings)}
        name, seed = settings.pop("data"), settings.pop("data_seed")
        return load(name, seed=seed, **settings)
