"""Image data sets as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path

import keras
import numpy as np

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png")
# Names kept for data sets that `load` will fetch; until then they come from an image folder.
RESERVED_NAMES = ("cifar10", "cifar100", "svhn", "imagenet100r")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test images with their labels.

    Attributes:
        x_train: Training images, float32 in [0, 1], `(samples, height, width, channels)`, or
            `(samples, channels, height, width)` where `keras.config.image_data_format()` is
            `"channels_first"`. In random order.
        y_train: Training labels, int32, `(samples,)`: indices into `class_names`.
        x_test: Test images, like `x_train`.
        y_test: Test labels, like `y_train`.
        class_names: Names of the classes, in the order of the labels.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    class_names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Split:
    """Samples of a data set before they are chosen: images, or the paths of image files."""

    samples: np.ndarray
    classes: np.ndarray

    def choose(
        self, class_names: Sequence[str], limit: int | None, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Up to `limit` random samples of each class and their labels, in random order."""
        random = np.random.default_rng(seed)
        chosen = [
            random.permutation(np.flatnonzero(self.classes == name))[:limit] for name in class_names
        ]
        labels = np.repeat(np.arange(len(chosen), dtype="int32"), [len(rows) for rows in chosen])
        order = random.permutation(len(labels))
        return self.samples[np.concatenate(chosen)[order]], labels[order]


def load(
    name: str | Path,
    *,
    image_size: int | tuple[int, int] | None = None,
    color: str | None = None,
    class_names: Sequence[str] | None = None,
    samples_per_class: int | None = None,
    test_samples_per_class: int | None = None,
    test_fraction: float = 0.2,
    seed: int = 0,
) -> Dataset:
    """Loads a data set into memory.

    Args:
        name: `"digits"`, the 1,797 scanned digits that come with scikit-learn, or the path of a
            folder of 8-bit images, `train/<class>/*` and `test/<class>/*`.
        image_size: Height and width in pixels, or one integer for both. Images of another size
            are resized (bilinear). Digits: 8 to 32, by default 8. Folder: by default the images'
            own size, which must then be the same for all.
        color: `"grey"` (one channel) or `"rgb"` (three). By default `"grey"` for the digits and
            `"rgb"` for a folder.
        class_names: The classes to load, in the order that their labels take. By default all, in
            alphabetical order.
        samples_per_class: Training images of each class, at most. By default all.
        test_samples_per_class: Test images of each class, at most. By default all.
        test_fraction: Fraction of the digits that is held out for testing, the same in each class.
            A folder has its own test images.
        seed: Seed of the digits' split, and of the choice and the order of the samples.

    Returns:
        A `Dataset`, the same on every backend.

    Raises:
        ValueError: If an argument is impossible, or the folder is not as described.
        ImportError: If scikit-learn (digits) or Pillow (folder) is not installed.

    Example:
        >>> from moda_keras import datasets
        >>> digits = datasets.load("digits", image_size=16, class_names=["3", "8"])
        >>> digits.x_train.shape, digits.x_test.shape, digits.class_names
        ((285, 16, 16, 1), (72, 16, 16, 1), ('3', '8'))

        CIFAR-10 from a folder, its labels in their usual order, 1,000 training images of each
        class:

        ```python
        names = "airplane automobile bird cat deer dog frog horse ship truck".split()
        cifar10 = datasets.load("data/cifar10", class_names=names, samples_per_class=1000)
        ```
    """
    _check_limit("samples_per_class", samples_per_class)
    _check_limit("test_samples_per_class", test_samples_per_class)
    if color not in (None, "grey", "rgb"):
        raise ValueError(f'`color` should be "grey" or "rgb". Received: color={color!r}')
    size = _height_and_width(image_size)

    if name == "digits":
        train, test = _digits(test_fraction, seed)
        read, color = _resize_digits, color or "grey"
    else:
        train, test = _image_folder(name)
        read, color = _read_images, color or "rgb"

    class_names = _check_class_names(class_names, train, test)
    samples, y_train = train.choose(class_names, samples_per_class, seed)
    x_train = read(samples, size, color)
    samples, y_test = test.choose(class_names, test_samples_per_class, seed)
    x_test = read(samples, size, color)
    if x_test.shape[1:] != x_train.shape[1:]:
        raise ValueError(
            "Training and test images should have one size; pass `image_size` to resize them. "
            f"Received: images of shape {x_train.shape[1:]} and {x_test.shape[1:]}"
        )
    return Dataset(x_train, y_train, x_test, y_test, class_names)


def _check_limit(argument: str, limit: int | None) -> None:
    if limit is not None and limit < 1:
        raise ValueError(f"`{argument}` should be a positive integer. Received: {argument}={limit}")


def _height_and_width(image_size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    if image_size is None:
        return None
    size = (image_size, image_size) if isinstance(image_size, Integral) else tuple(image_size)
    if len(size) != 2 or not all(isinstance(side, Integral) and side >= 1 for side in size):
        raise ValueError(
            "`image_size` should be a positive integer or a tuple of two, (height, width). "
            f"Received: image_size={image_size}"
        )
    return size


def _check_class_names(
    class_names: Sequence[str] | None, train: _Split, test: _Split
) -> tuple[str, ...]:
    known = np.unique(train.classes).tolist()
    names = tuple(known if class_names is None else class_names)
    if not names or len(set(names)) != len(names) or not set(names) <= set(known):
        raise ValueError(
            f"`class_names` should be distinct names out of {known}. "
            f"Received: class_names={class_names}"
        )
    untested = sorted(set(names) - set(test.classes.tolist()))
    if untested:
        raise ValueError(
            "Every class should have test images. Pass `class_names` without the classes that "
            f"have none, or add images. Received no test image of: {untested}"
        )
    return names


def _digits(test_fraction: float, seed: int) -> tuple[_Split, _Split]:
    """The scanned digits, 8x8 with values from 0 to 16, split alike in each class."""
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise ImportError(
            "The digits come with scikit-learn, which is not installed. "
            'Install it with: pip install "moda-keras[data]"'
        ) from error

    if not 0 < test_fraction < 1:
        raise ValueError(
            "`test_fraction` should be between 0 and 1, both excluded. "
            f"Received: test_fraction={test_fraction}"
        )
    digits = load_digits()
    x_train, x_test, train_classes, test_classes = train_test_split(
        digits.images,
        digits.target.astype(str),
        test_size=test_fraction,
        stratify=digits.target,
        random_state=seed,
    )
    return _Split(x_train, train_classes), _Split(x_test, test_classes)


def _resize_digits(images: np.ndarray, size: tuple[int, int] | None, color: str) -> np.ndarray:
    if size and not all(8 <= side <= 32 for side in size):
        raise ValueError(
            f"`image_size` of the digits should be from 8 to 32. Received: image_size={size}"
        )
    images = (images / 16).astype("float32")[..., np.newaxis]
    if size:
        images = keras.ops.image.resize(
            images, size, interpolation="bilinear", data_format="channels_last"
        )
        images = keras.ops.convert_to_numpy(images)
    if color == "rgb":
        images = np.repeat(images, 3, axis=-1)
    if keras.config.image_data_format() == "channels_first":
        images = np.moveaxis(images, -1, 1)
    return np.ascontiguousarray(images)


def _image_folder(path: str | Path) -> tuple[_Split, _Split]:
    layout = "train/<class>/* and test/<class>/*"
    if path in RESERVED_NAMES:
        raise ValueError(
            f"The data set {path!r} is not available by name. Load it from a folder of its images, "
            f'{layout}, by the path of that folder: load("path/to/{path}", class_names=[...])'
        )
    folder = Path(path)
    if not (folder / "train").is_dir() or not (folder / "test").is_dir():
        raise ValueError(
            f'Unknown data set. Expected "digits" or the path of a folder of images, {layout}. '
            f"Received: name={str(path)!r}"
        )
    return _image_paths(folder / "train"), _image_paths(folder / "test")


def _image_paths(folder: Path) -> _Split:
    files = [
        path for path in sorted(folder.glob("[!.]*/*")) if path.suffix.lower() in IMAGE_SUFFIXES
    ]
    if not files:
        raise ValueError(
            f"Expected images in `<class>/` folders, named {', '.join(IMAGE_SUFFIXES)}. "
            f"Received none in: {folder}"
        )
    return _Split(
        np.array([str(path) for path in files]), np.array([path.parent.name for path in files])
    )


def _read_images(paths: np.ndarray, size: tuple[int, int] | None, color: str) -> np.ndarray:
    # Keras reads one image with Pillow alone, but a whole folder only with TensorFlow or Grain.
    images = [_read_image(str(path), size, color) for path in paths]
    for path, image in zip(paths, images, strict=True):
        if image.shape != images[0].shape:
            raise ValueError(
                "The images should have one size; pass `image_size` to resize them. Received: "
                f"{paths[0]} of shape {images[0].shape} and {path} of shape {image.shape}"
            )
    return np.stack(images).astype("float32") / np.float32(255)


def _read_image(path: str, size: tuple[int, int] | None, color: str) -> np.ndarray:
    color_mode = "grayscale" if color == "grey" else "rgb"
    try:
        image = keras.utils.load_img(path, color_mode, target_size=size, interpolation="bilinear")
    except OSError as error:
        raise ValueError(
            f"Expected an image file. Received one that cannot be read: {path}"
        ) from error
    return keras.utils.img_to_array(image, dtype="uint8")
