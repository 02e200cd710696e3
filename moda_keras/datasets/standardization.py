"""Mean 0 and deviation 1 in each channel."""

import keras
import numpy as np

# Of the training images, scaled to [0, 1]: red, green, blue.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
SMALLEST_DEVIATION = 1e-6
# Images at a time: sums are taken in float64, twice the memory of what they are taken of.
BLOCK = 4096


def channel_statistics(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel.

    Args:
        x: Images, float32 (N, height, width, channels), or channels first where Keras is so
            configured.

    Returns:
        Two float32 arrays that broadcast with `x`; no deviation is under 1e-6.
    """
    channels = 1 if keras.config.image_data_format() == "channels_first" else 3
    axes = tuple(axis for axis in range(4) if axis != channels)
    values = x.size // x.shape[channels]
    blocks = [x[start : start + BLOCK] for start in range(0, len(x), BLOCK)]
    mean = sum(b.sum(axis=axes, keepdims=True, dtype="float64") for b in blocks) / values
    variance = sum(np.square(b - mean).sum(axis=axes, keepdims=True) for b in blocks) / values
    deviation = np.sqrt(variance).astype("float32")
    return mean.astype("float32"), np.maximum(deviation, np.float32(SMALLEST_DEVIATION))


def standardize(x: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Subtracts the mean and divides by the deviation.

    Args:
        x: Images, float32.
        mean: Array that broadcasts with them.
        deviation: The same.

    Returns:
        A new float32 array like `x`.
    """
    x = x - mean
    x /= deviation
    return x
