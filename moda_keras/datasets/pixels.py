"""Arrays of images: scaling, resizing, color, and standardization."""

import keras
import numpy as np

# Red, green and blue: the luma of ITU-R BT.601, as Pillow converts.
GREY_WEIGHTS = np.array([0.299, 0.587, 0.114], "float32")
# Red, green and blue over ImageNet's training images, in [0, 1].
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
SMALLEST_DEVIATION = 1e-6
# How models want their images, with the name in keras.applications of all but the first two.
PIXELS = {"0-1": None, "0-255": None, "-1-1": "tf", "imagenet": "torch", "caffe": "caffe"}
# Images processed at a time, which bounds the memory of the device and of float64 sums.
BLOCK = 4096


def to_images(
    pixels: np.ndarray, largest: int, size: tuple[int, int] | None, color: str
) -> np.ndarray:
    """Scales to [0, 1], resizes (bilinear) and converts the color.

    Args:
        pixels: Array (N, height, width, channels) of values from 0 to `largest`; 1 or 3 channels.
        largest: The largest value of a pixel.
        size: Height and width, or None to keep the size.
        color: "grey" or "rgb".

    Returns:
        Float32 array (N, height, width, channels), or channels first if Keras is so configured.
    """
    height, width = size or pixels.shape[1:3]
    images = np.empty((len(pixels), height, width, 1 if color == "grey" else 3), "float32")
    for start in range(0, len(pixels), BLOCK):
        block = (pixels[start : start + BLOCK] / largest).astype("float32")
        # Assigning one channel to three repeats it.
        images[start : start + BLOCK] = _grey(_resized(block, size), color)
    if keras.config.image_data_format() == "channels_first":
        images = np.moveaxis(images, -1, 1)
    return np.ascontiguousarray(images)


def _resized(images: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    if size in (None, images.shape[1:3]):
        return images
    images = keras.ops.image.resize(
        images, size, interpolation="bilinear", data_format="channels_last"
    )
    return keras.ops.convert_to_numpy(images)


def _grey(images: np.ndarray, color: str) -> np.ndarray:
    if color == "grey" and images.shape[-1] == 3:
        return (images @ GREY_WEIGHTS)[..., np.newaxis]
    return images


def scale_pixels(images: np.ndarray, pixels: str) -> np.ndarray:
    """Scales images as a model wants them.

    Args:
        images: Float32 array (N, height, width, channels) of values from 0 to 1, or channels first
            if Keras is so configured.
        pixels: "0-1", "0-255" or "-1-1": the range of the values. "imagenet": less the mean of
            ImageNet's channels, over their standard deviation. "caffe": blue, green, red from 0 to
            255, less ImageNet's means. The last three are the modes "tf", "torch" and "caffe" of
            `keras.applications`.

    Returns:
        Float32 array of the same shape.

    Raises:
        ValueError: If `pixels` is unknown, or images of one channel have no such form.

    Examples:
        >>> import numpy as np
        >>> from moda_keras import datasets
        >>> white = np.ones((1, 2, 2, 3), "float32")
        >>> datasets.scale_pixels(white, "0-255")[0, 0, 0].tolist()
        [255.0, 255.0, 255.0]
    """
    if pixels not in PIXELS:
        raise ValueError(
            f"Expected `pixels` to be one of {list(PIXELS)}. Received: pixels={pixels!r}"
        )
    if pixels == "0-1":
        return images
    channels = images.shape[1 if keras.config.image_data_format() == "channels_first" else -1]
    if pixels in ("imagenet", "caffe") and channels != 3:
        raise ValueError(
            f"Expected images of three channels for pixels={pixels!r}. Received: {channels}"
        )
    scaled = images * np.float32(255)
    mode = PIXELS[pixels]
    if mode is None:
        return scaled
    scaled = keras.applications.imagenet_utils.preprocess_input(scaled, mode=mode)
    return np.asarray(scaled, "float32")


def channel_statistics(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel.

    Args:
        x: Images, float32 (N, height, width, channels), or channels first if Keras is so
            configured.

    Returns:
        Two float32 arrays that broadcast with `x`. Deviations are at least 1e-6.
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
    """Subtracts the mean and divides by the deviation; returns a new float32 array."""
    x = x - mean
    x /= deviation
    return x
