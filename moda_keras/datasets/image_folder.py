"""Images in a folder for each class."""

from pathlib import Path

import keras
import numpy as np

from moda_keras.datasets.stored_split import StoredSplit

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png")
LAYOUT = "train/<class>/* and test/<class>/*"


def is_image_folder(path: str | Path) -> bool:
    """Whether there are folders `train` and `test`.

    Args:
        path: A path, or anything else that a data set is named by.

    Returns:
        Bool.
    """
    return (Path(path) / "train").is_dir() and (Path(path) / "test").is_dir()


def find_images(path: str | Path) -> tuple[StoredSplit, StoredSplit]:
    """The paths of all images, by class.

    Args:
        path: A folder with `train/<class>/*` and `test/<class>/*`.

    Returns:
        Training and test split; their classes are those of the training images, sorted.

    Raises:
        ValueError: If there is no image in one of them.
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
            f"Expected images in `<class>/` folders, named {', '.join(IMAGE_SUFFIXES)}. "
            f"Received none in: {folder}"
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
        size: Height and width to resize to (bilinear); None for the images' own.
        color: "grey" or "rgb".

    Returns:
        Float32 array in [0, 1], (N, height, width, channels), or channels first where Keras is so
        configured.

    Raises:
        ValueError: If the images are of several sizes, or a file is no image.
        ImportError: If Pillow is not installed.
    """
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
    except ImportError as error:
        raise ImportError(
            "Folders of images are read with Pillow, which is not installed. "
            'Install it with: pip install "moda-keras[data]"'
        ) from error
    return keras.utils.img_to_array(image, dtype="uint8")
