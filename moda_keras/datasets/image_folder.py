"""Images in one folder per class."""

from pathlib import Path

import keras
import numpy as np

from moda_keras.datasets.image_decoder import INSTALL_PILLOW
from moda_keras.datasets.sample_choice import StoredSplit

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png")
LAYOUT = "train/<class>/* and test/<class>/*"


def is_image_folder(path: str | Path) -> bool:
    """Whether a path has the folders `train` and `test`."""
    return (Path(path) / "train").is_dir() and (Path(path) / "test").is_dir()


def find_images(path: str | Path) -> tuple[StoredSplit, StoredSplit]:
    """Finds all images and their classes.

    Args:
        path: A folder with `train/<class>/*` and `test/<class>/*`.

    Returns:
        Training and test split. The classes are the training folders, sorted by name.

    Raises:
        ValueError: If a split has no images.
    """
    train, test = (_image_paths(Path(path) / name) for name in ("train", "test"))
    known = sorted({file.parent.name for file in train})
    return _split(train, known), _split(test, known)


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
    labels = [index.get(path.parent.name, -1) for path in files]
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
