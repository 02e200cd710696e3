"""The 1,797 scanned digits that come with scikit-learn."""

import numpy as np

from moda_keras.datasets.pixels import to_images
from moda_keras.datasets.sample_choice import StoredSplit

# The largest value of a pixel, and the sizes to which 8x8 pixels may be enlarged.
LARGEST = 16
SIZES = range(8, 33)


def split_digits(test_fraction: float, seed: int) -> tuple[StoredSplit, StoredSplit]:
    """The digits, split in the same proportion in each class.

    Args:
        test_fraction: Fraction held out for testing, between 0 and 1.
        seed: Seed of the split.

    Returns:
        Training and test split; their samples are float64 (N, 8, 8), from 0 to 16.

    Raises:
        ImportError: If scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise ImportError(
            "The digits come with scikit-learn, which is not installed. "
            'Install it with: pip install "moda-keras[data]"'
        ) from error

    digits = load_digits()
    x_train, x_test, y_train, y_test = train_test_split(
        digits.images,
        digits.target,
        test_size=test_fraction,
        stratify=digits.target,
        random_state=seed,
    )
    names = [str(name) for name in digits.target_names]
    return StoredSplit(x_train, y_train, names), StoredSplit(x_test, y_test, names)


def resize_digits(scans: np.ndarray, size: tuple[int, int] | None, color: str) -> np.ndarray:
    """Turns scans into images.

    Args:
        scans: Array (N, 8, 8), from 0 to 16.
        size: Height and width, each from 8 to 32, or None for 8.
        color: "grey" or "rgb".

    Returns:
        Float32 array in [0, 1], (N, height, width, channels), or channels first if Keras is so
        configured.

    Raises:
        ValueError: If the size is out of range.
    """
    if size and not all(side in SIZES for side in size):
        raise ValueError(
            f"Expected `image_size` from 8 to 32 for the digits. Received: image_size={size}"
        )
    return to_images(scans[..., np.newaxis], LARGEST, size, color)
