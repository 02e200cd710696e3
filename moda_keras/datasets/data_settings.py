"""The arguments of `load` as one value."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

from moda_keras.datasets.dataset import Dataset
from moda_keras.datasets.load import load
from moda_keras.datasets.streamed_dataset import StreamedDataset


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """The arguments of `load`, for configuration files and command lines to inherit.

    Each field is annotated with a line of help. The names are those of `load`, except `data` for
    `name` and `data_seed` for `seed`, which would be ambiguous among the settings of an experiment.

    Examples:
        >>> from moda_keras.datasets import DataSettings
        >>> DataSettings(data="digits", image_size=16, samples_per_class=10).load_data().image_shape
        (16, 16, 1)
    """

    data: Annotated[str, "Name of a data set, or a folder of images."]
    image_size: Annotated[int | None, "Height and width in pixels; by default the images' own."] = (
        None
    )
    color: Annotated[str | None, "grey or rgb; by default the images' own."] = None
    class_names: Annotated[tuple[str, ...] | None, "Classes in label order; by default all."] = None
    samples_per_class: Annotated[int | None, "Maximum number of training images per class."] = None
    test_samples_per_class: Annotated[int | None, "Maximum number of test images per class."] = None
    test_fraction: Annotated[float, "Digits, folders without test/: fraction held out."] = 0.2
    data_seed: Annotated[int, "Seed of the choice of images and of the split of the digits."] = 0
    extra: Annotated[bool | None, "SVHN: train on the extra split too; by default yes."] = None
    download: Annotated[bool, "Download the data set if it is not on this machine."] = False
    data_dir: Annotated[str | Path | None, "Folder of tensorflow-datasets' prepared data."] = None
    cache: Annotated[str | Path | None, "Streamed data sets: folder that keeps the labels."] = None

    def load_data(self) -> Dataset | StreamedDataset:
        """Loads the data.

        Returns:
            What `load` returns.
        """
        settings = {each.name: getattr(self, each.name) for each in fields(DataSettings)}
        name, seed = settings.pop("data"), settings.pop("data_seed")
        return load(name, seed=seed, **settings)
