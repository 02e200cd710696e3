"""Arrays of pixels as the images of a data set."""

import keras
import numpy as np

# Of red, green and blue: the luma of ITU-R BT.601, as Pillow converts.
GREY_WEIGHTS = np.array([0.299, 0.587, 0.114], "float32")
# Images that are resized at a time, to bound what the backend's device holds.
BLOCK = 4096


def to_images(
    pixels: np.ndarray, largest: int, size: tuple[int, int] | None, color: str
) -> np.ndarray:
    """Scales to [0, 1], resizes (bilinear) and converts the color.

    Args:
        pixels: Array (N, height, width, channels) from 0 to `largest`; 1 or 3 channels.
        largest: The largest value of a pixel.
        size: Height and width, or None for the pixels' own.
        color: "grey" or "rgb".

    Returns:
        Float32 array (N, height, width, channels), or channels first where Keras is so configured.
    """
    height, width = size or pixels.shape[1:3]
    images = np.empty((len(pixels), height, width, 1 if color == "grey" else 3), "float32")
    for start in range(0, len(pixels), BLOCK):
        block = (pixels[start : start + BLOCK] / largest).astype("float32")
        images[start : start + BLOCK] = _colored(_resized(block, size), color)
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


def _colored(images: np.ndarray, color: str) -> np.ndarray:
    """The images as they are, for numpy repeats one channel where there is room for three."""
    if color == "grey" and images.shape[-1] == 3:
        return (images @ GREY_WEIGHTS)[..., np.newaxis]
    return images
