"""Images in one folder per class."""

from pathlib import Path

import keras
import numpy as np

from moda_keras.datasets.image_decoder import INSTALL_PILLOW
from moda_keras.datasets.sample_choice import StoredSplit

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png")
LAYOUT = "train/<class>/* and test/<class>/*, or <class>/*"


def is_image_folder(path: str | Path) -> bool:
    """Whether a path is a folder with class folders, or with the folder `train`."""
    return Path(path).is_dir() and any(each.is_dir() for each in Path(path).glob("[!.]*"))


def find_images(
    path: str | Path, test_fraction: float, seed: int
) -> tuple[StoredSplit, StoredSplit]:
    """Finds all images and their classes.

    Args:
        path: A folder with `train/<class>/*` and `test/<class>/*`. Without `test`, a fraction of
            the images of each class is held out; without `train`, the class folders are in `path`.
        test_fraction: The fraction of the images of each class that is held out without `test`.
        seed: Seed of this choice.

    Returns:
        Training and test split. The classes are all class folders, sorted by name.

    Raises:
        ValueError: If there are no images.
    """
    train, test = _roots(Path(path))
    known = folder_class_names(path)
    split = _split(_image_paths(train), known)
    if test is None:
        return _held_out(split, test_fraction, seed)
    return split, _split(_image_paths(test), known)


def folder_class_names(path: str | Path) -> list[str]:
    """The names of the class folders of a folder of images, sorted; no file is read.

    Args:
        path: As for `find_images`.

    Returns:
        List of str.
    """
    roots = [root for root in _roots(Path(path)) if root is not None]
    return sorted({name for root in roots for name in _classes(root)})


def find_unlabelled_images(
    path: str | Path, test_fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The images of a folder without class folders, in random order.

    Args:
        path: A folder with image files.
        test_fraction: The fraction of the images that is held out.
        seed: Seed of this choice.

    Returns:
        Two str arrays of paths: training and test images.

    Raises:
        ValueError: If there are fewer than two images.
    """
    files = [p for p in sorted(Path(path).glob("[!.]*")) if p.suffix.lower() in IMAGE_SUFFIXES]
    if len(files) < 2:
        raise ValueError(
            f"Expected images ({', '.join(IMAGE_SUFFIXES)}), or folders of images, {LAYOUT}. "
            f"Received: {len(files)} images in {path}"
        )
    order = np.random.default_rng(seed).permutation(len(files))
    held_out = min(max(1, round(test_fraction * len(files))), len(files) - 1)
    paths = np.array([str(each) for each in files])[order]
    return paths[held_out:], paths[:held_out]


def _roots(path: Path) -> tuple[Path, Path | None]:
    """The folders with the class folders of training and test images; None without the latter."""
    train = path / "train"
    if (path / "test").is_dir():
        return train, path / "test"
    return (train if train.is_dir() else path), None


def _held_out(
    split: StoredSplit, test_fraction: float, seed: int
) -> tuple[StoredSplit, StoredSplit]:
    is_test = np.zeros(len(split.labels), bool)
    random = np.random.default_rng(seed)
    for label in range(len(split.class_names)):
        rows = random.permutation(np.flatnonzero(split.labels == label))
        is_test[rows[: max(1, round(test_fraction * len(rows)))]] = True
    return tuple(
        StoredSplit(split.samples[chosen], split.labels[chosen], split.class_names)
        for chosen in (~is_test, is_test)
    )


def _classes(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.glob("[!.]*") if each.is_dir())


def _image_paths(folder: Path) -> list[Path]:
    files = [
        path for path in sorted(folder.glob("[!.]*/*")) if path.suffix.lower() in IMAGE_SUFFIXES
    ]
    if not files:
        raise ValueError(
            f"Expected images ({', '.join(IMAGE_SUFFIXES)}) in folders `<class>/`. "
            f"Received: no images in {folder}"
        )
    return files


def _split(files: list[Path], known: list[str]) -> StoredSplit:
    index = {name: label for label, name in enumerate(known)}
    labels = [index[path.parent.name] for path in files]
    return StoredSplit(np.array([str(path) for path in files]), np.array(labels), known)


def read_images(paths: np.ndarray, size: tuple[int, int] | None, color: str) -> np.ndarray:
    """Reads image files.

    Args:
        paths: Str array (N,).
        size: Height and width to resize to (bilinear); None to keep the size.
        color: "grey" or "rgb".

    Returns:
        Float32 array in [0, 1], (N, height, width, channels), or channels first if Keras is so
        configured.

    Raises:
        ValueError: If the images differ in size, or a file is not an image.
        ImportError: If Pillow is not installed.
    """
    # Keras reads single images with Pillow, but whole folders only with TensorFlow or Grain.
    images = [_read_image(str(path), size, color) for path in paths]
    for path, image in zip(paths, images, strict=True):
        if image.shape != images[0].shape:
            raise ValueError(
                "Expected images of one size. Received: "
                f"{paths[0]} of shape {images[0].shape} and {path} of shape {image.shape}. "
                "Pass `image_size` to resize them"
            )
    return np.stack(images).astype("float32") / np.float32(255)


def _read_image(path: str, size: tuple[int, int] | None, color: str) -> np.ndarray:
    color_mode = "grayscale" if color == "grey" else "rgb"
    try:
        image = keras.utils.load_img(path, color_mode, target_size=size, interpolation="bilinear")
    except OSError as error:
        raise ValueError(
            f"Expected an image file. Received a file that cannot be read: {path}"
        ) from error
    except ImportError as error:
        raise ImportError(
            f"Folders of images need Pillow, which is not installed. {INSTALL_PILLOW}"
        ) from error
    return keras.utils.img_to_array(image, dtype="uint8")
