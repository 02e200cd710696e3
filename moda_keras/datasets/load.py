"""Data sets by name or from a folder."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from moda_keras.datasets.dataset import Dataset
from moda_keras.datasets.digits import resize_digits, split_digits
from moda_keras.datasets.image_decoder import ImageDecoder
from moda_keras.datasets.image_folder import LAYOUT, find_images, is_image_folder, read_images
from moda_keras.datasets.pixels import to_images
from moda_keras.datasets.sample_choice import (
    SampleChoice,
    StoredSplit,
    choose_imagenet_classes,
    choose_rows,
)
from moda_keras.datasets.stored_samples import read_samples
from moda_keras.datasets.streamed_dataset import StreamedDataset
from moda_keras.datasets.tfds_splits import (
    RANDOM_ACCESS,
    class_names_of,
    open_builder,
    open_source,
    read_split,
)


@dataclass(frozen=True)
class _Prepared:
    """A data set of tensorflow-datasets.

    Attributes:
        builder: Its name there.
        train, test: Its splits.
        augment: Its default augmentation.
    """

    builder: str
    train: str = "train"
    test: str = "test"
    augment: str = "crop_flip"


# Mirroring is left out for SVHN: a mirrored digit is not a digit.
IN_MEMORY = {
    "cifar10": _Prepared("cifar10"),
    "cifar100": _Prepared("cifar100"),
    "svhn": _Prepared("svhn_cropped", train="train+extra", augment="crop"),
}
STREAMED = {
    "stanford_dogs": _Prepared("stanford_dogs"),
    "imagenet100r": _Prepared("imagenet2012", test="validation"),
    "imagenet100d": _Prepared("imagenet2012", test="validation"),
}
NAMES = ("digits", *IN_MEMORY, *STREAMED)
STREAMED_SIZE = (224, 224)
Size = tuple[int, int]


def load(
    name: str | Path,
    *,
    image_size: int | Size | None = None,
    color: str | None = None,
    class_names: Sequence[str] | None = None,
    samples_per_class: int | None = None,
    test_samples_per_class: int | None = None,
    test_fraction: float = 0.2,
    seed: int = 0,
    extra: bool | None = None,
    download: bool = False,
    data_dir: str | Path | None = None,
    cache: str | Path | None = None,
) -> Dataset | StreamedDataset:
    """Loads a data set, into memory or streamed from files.

    Nothing is downloaded unless `download` is set.

    Args:
        name: One of
            `"digits"`: the 1,797 scanned digits of scikit-learn;
            `"cifar10"`, `"cifar100"`, `"svhn"`: from tensorflow-datasets, in memory;
            `"stanford_dogs"`, `"imagenet100r"`, `"imagenet100d"` (100 random classes of ImageNet,
            and 100 breeds of dogs): from tensorflow-datasets, streamed;
            or the path of a folder of 8-bit images, `train/<class>/*` and `test/<class>/*`, or
            only `train/<class>/*` or `<class>/*`.
        image_size: Height and width in pixels, or one integer for both. Images of another size
            are resized (bilinear). By default 224 for streamed images, and the images' own size
            for all others; then all images of a folder must have the same size. Digits: 8 to 32.
        color: `"grey"` (one channel) or `"rgb"` (three). By default `"grey"` for the digits and
            `"rgb"` for all others.
        class_names: The classes to load, in the order of their labels. By default all, in the data
            set's own order; a folder's classes are sorted by name. For ImageNet: any synset ids,
            such as `"n02085620"`, by default those of `choose_imagenet_classes`.
        samples_per_class: Maximum number of training images per class. By default all.
        test_samples_per_class: Maximum number of test images per class. By default all.
        test_fraction: Fraction held out for testing, in each class, of the digits and of a folder
            without `test`. All other data sets have their own test images.
        seed: Seed of this split, and of the choice and the order of the samples.
        extra: Only for `"svhn"`: True trains on the extra split too, 604,388 images (the default);
            False does not, 73,257 images.
        download: Whether to download and prepare the data set if it is not on this machine.
        data_dir: Folder of the prepared data of tensorflow-datasets; by default its own default.
        cache: Only for streamed data sets: a folder that keeps their labels. Without it, each
            process reads all files once to find the labels.

    Returns:
        A `Dataset` or a `StreamedDataset`, the same on every backend.

    Raises:
        ValueError: If an argument is invalid, or the folder is not laid out as described.
        FileNotFoundError: If the data is not on this machine; the message says how to get it.
        ImportError: If a package that reads the data is not installed; the message says which.

    Examples:
        >>> from moda_keras import datasets
        >>> digits = datasets.load("digits", image_size=16, class_names=["3", "8"])
        >>> digits.x_train.shape, digits.x_test.shape, digits.class_names
        ((285, 16, 16, 1), (72, 16, 16, 1), ('3', '8'))

        CIFAR-10 from a folder, with its usual labels and 1,000 training images per class:

        ```python
        names = "airplane automobile bird cat deer dog frog horse ship truck".split()
        cifar10 = datasets.load("data/cifar10", class_names=names, samples_per_class=1000)
        ```
    """
    _check_limit("samples_per_class", samples_per_class)
    _check_limit("test_samples_per_class", test_samples_per_class)
    if not 0 < test_fraction < 1:
        raise ValueError(
            "Expected `test_fraction` between 0 and 1, both excluded. "
            f"Received: test_fraction={test_fraction}"
        )
    if color not in (None, "grey", "rgb"):
        raise ValueError(f'Expected `color` to be "grey" or "rgb". Received: color={color!r}')
    size = _height_and_width(image_size)
    _check_owner("extra", extra, name, ["svhn"])
    _check_owner("cache", cache, name, STREAMED)
    _check_owner("data_dir", data_dir, name, [*IN_MEMORY, *STREAMED])
    choice = SampleChoice(class_names, (samples_per_class, test_samples_per_class), seed)

    if name == "digits":
        splits = split_digits(test_fraction, seed)
        read = partial(resize_digits, size=size, color=color or "grey")
        return _in_memory(splits, choice, read, "crop")
    color = color or "rgb"
    if name in IN_MEMORY:
        prepared = IN_MEMORY[name]
        builder = open_builder(prepared.builder, data_dir, download)
        train = "train" if extra is False else prepared.train
        splits = read_split(builder, train), read_split(builder, prepared.test)
        read = partial(to_images, largest=255, size=size, color=color)
        return _in_memory(splits, choice, read, prepared.augment)
    if name in STREAMED:
        builder = open_builder(STREAMED[name].builder, data_dir, download, RANDOM_ACCESS)
        return _streamed(name, builder, choice, ImageDecoder(size or STREAMED_SIZE, color), cache)
    if not is_image_folder(name):
        raise ValueError(_no_data_set(name))
    splits = find_images(name, test_fraction, seed)
    _check_complete(splits, choice)
    return _in_memory(splits, choice, partial(read_images, size=size, color=color), "crop_flip")


def _no_data_set(name: str | Path) -> str:
    expected = f"Expected one of {list(NAMES)}, or the path of a folder of images, {LAYOUT}"
    if Path(name).is_dir():
        return f"{expected}. Received: name={str(name)!r}, a folder without class folders"
    if Path(name).is_file():
        return f"{expected}. Received: name={str(name)!r}, a file. Arrays need no loading"
    return f"Unknown data set. {expected}. Received: name={str(name)!r}"


def _in_memory(
    splits: tuple[StoredSplit, StoredSplit],
    choice: SampleChoice,
    read: Callable[[np.ndarray], np.ndarray],
    augment: str,
) -> Dataset:
    """The chosen samples of both splits; `read` turns them into images."""
    known = splits[0].class_names
    classes = choice.classes(known, known)
    arrays = []
    for split, limit in zip(splits, choice.limits, strict=True):
        rows, labels = choose_rows(split.labels, classes, limit, choice.seed)
        arrays += [read(split.samples[rows]), labels]
    x_train, _, x_test, _ = arrays
    if x_test.shape[1:] != x_train.shape[1:]:
        raise ValueError(
            "Expected training and test images of one size. Received: images of shape "
            f"{x_train.shape[1:]} and {x_test.shape[1:]}. Pass `image_size` to resize them"
        )
    return Dataset(*arrays, tuple(known[index] for index in classes), augment)


def _streamed(
    name: str, builder: Any, choice: SampleChoice, decoder: ImageDecoder, cache: str | Path | None
) -> StreamedDataset:
    prepared, known = STREAMED[name], class_names_of(builder)
    is_imagenet = prepared.builder == "imagenet2012"
    default = choose_imagenet_classes(name, known) if is_imagenet else known
    classes = choice.classes(known, default)
    names = tuple(known[index] for index in classes)
    splits, origins = [], []
    for split, limit in zip((prepared.train, prepared.test), choice.limits, strict=True):
        file = f"{builder.info.full_name.replace('/', '-')}-{split}-labels.npy"
        samples = read_samples(open_source(builder, split), cache and Path(cache) / file)
        splits.append(samples.select(*choose_rows(samples.labels, classes, limit, choice.seed)))
        origins.append(repr((builder.info.full_name, split, names, limit, choice.seed)))
    return StreamedDataset(*splits, names, decoder, "; ".join(origins), prepared.augment)


def _check_limit(argument: str, limit: int | None) -> None:
    if limit is not None and limit < 1:
        raise ValueError(
            f"Expected `{argument}` to be a positive integer. Received: {argument}={limit}"
        )


def _check_owner(argument: str, value: Any, name: str | Path, owners: Collection[str]) -> None:
    if value is not None and name not in owners:
        raise ValueError(
            f"Expected `{argument}` only for {list(owners)}. Received: {argument}={value!r} with "
            f"name={str(name)!r}"
        )


def _height_and_width(image_size: int | Size | None) -> Size | None:
    if image_size is None:
        return None
    size = (image_size, image_size) if isinstance(image_size, Integral) else tuple(image_size)
    if len(size) != 2 or not all(isinstance(side, Integral) and side >= 1 for side in size):
        raise ValueError(
            "Expected `image_size` to be a positive integer or two, (height, width). "
            f"Received: image_size={image_size}"
        )
    return size


def _check_complete(splits: tuple[StoredSplit, StoredSplit], choice: SampleChoice) -> None:
    """Raises a ValueError if a chosen class of a folder has no training or no test images."""
    known = splits[0].class_names
    chosen = choice.classes(known, known)
    for kind, split in zip(("training", "test"), splits, strict=True):
        present = set(split.labels.tolist())
        missing = [known[index] for index in chosen if index not in present]
        if missing:
            raise ValueError(
                f"Expected {kind} images of every class. Received: no {kind} images of "
                f"{sorted(missing)}. Add images, or pass `class_names` without these classes"
            )
