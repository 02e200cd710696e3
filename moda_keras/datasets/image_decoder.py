"""From the content of an image file to an image of a fixed size."""

import io
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

# A random crop covers this share of the area and has this ratio of width to height.
CROP_AREA = (0.08, 1.0)
CROP_RATIO = (3 / 4, 4 / 3)
# How often a random crop is drawn until one lies within the image.
ATTEMPTS = 10
# The center crop covers this share of the shorter side: 224 of 256 pixels.
CENTER = 0.875
INSTALL_PILLOW = 'Install it with: pip install "moda-keras[data]"'


@dataclass(frozen=True)
class ImageDecoder:
    """Decodes image files with Pillow, crops and resizes (bilinear, antialiased).

    Attributes:
        size: Height and width of the images.
        color: "grey" or "rgb".
        mean, deviation: Per channel: subtracted from, and divided into, values in [0, 1].
    """

    size: tuple[int, int]
    color: str = "rgb"
    mean: tuple[float, ...] = (0.0,)
    deviation: tuple[float, ...] = (1.0,)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of an image, in Keras's image data format."""
        channels = 1 if self.color == "grey" else 3
        if keras.config.image_data_format() == "channels_first":
            return (channels, *self.size)
        return (*self.size, channels)

    def center(self, encoded: bytes) -> np.ndarray:
        """The center of an image.

        Args:
            encoded: Content of an image file.

        Returns:
            Float32 array of `image_shape`: 7/8 of the largest centered crop with the aspect ratio
            of `size`, resized.
        """
        image = self._decode(encoded)
        return self._finish(image, _center_box(image.size, self.size))

    def random(self, encoded: bytes, augment: str, random: np.random.Generator) -> np.ndarray:
        """A random part of an image.

        Args:
            encoded: Content of an image file.
            augment: "crop" takes 8 to 100 % of the area, with an aspect ratio of 3/4 to 4/3;
                "crop_flip" also mirrors half of the images; "none" takes the center.
            random: Random number generator.

        Returns:
            Float32 array of `image_shape`.
        """
        if augment == "none":
            return self.center(encoded)
        image = self._decode(encoded)
        box = _random_box(image.size, random)
        return self._finish(image, box, augment == "crop_flip" and random.random() < 0.5)

    def _decode(self, encoded: bytes) -> Any:
        image = _pillow().open(io.BytesIO(encoded))
        return image.convert("L" if self.color == "grey" else "RGB")

    def _finish(self, image: Any, box: tuple[int, ...], mirrored: bool = False) -> np.ndarray:
        height, width = self.size
        image = image.crop(box).resize((width, height), _pillow().Resampling.BILINEAR)
        pixels = np.asarray(image, "float32").reshape(height, width, -1) / np.float32(255)
        pixels = (pixels - np.float32(self.mean)) / np.float32(self.deviation)
        pixels = pixels[:, ::-1] if mirrored else pixels
        if keras.config.image_data_format() == "channels_first":
            pixels = np.moveaxis(pixels, -1, 0)
        return pixels


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            f"Streamed images need Pillow, which is not installed. {INSTALL_PILLOW}"
        ) from error
    return Image


def _center_box(image_size: tuple[int, int], size: tuple[int, int]) -> tuple[int, ...]:
    """Left, top, right and bottom; `image_size` is Pillow's, (width, height)."""
    width, height = image_size
    scale = CENTER * min(height / size[0], width / size[1])
    return _centered(image_size, max(1, round(scale * size[1])), max(1, round(scale * size[0])))


def _random_box(image_size: tuple[int, int], random: np.random.Generator) -> tuple[int, ...]:
    """As `_center_box`: a random crop, as Inception and torchvision draw it."""
    width, height = image_size
    for _ in range(ATTEMPTS):
        area = random.uniform(*CROP_AREA) * width * height
        ratio = np.exp(random.uniform(*np.log(CROP_RATIO)))
        columns, rows = round(np.sqrt(area * ratio)), round(np.sqrt(area / ratio))
        if 1 <= columns <= width and 1 <= rows <= height:
            left = int(random.integers(width - columns + 1))
            top = int(random.integers(height - rows + 1))
            return left, top, left + columns, top + rows
    lowest, highest = CROP_RATIO
    columns = max(1, min(width, round(height * highest)))
    return _centered(image_size, columns, max(1, min(height, round(columns / lowest))))


def _centered(image_size: tuple[int, int], columns: int, rows: int) -> tuple[int, ...]:
    left, top = (image_size[0] - columns) // 2, (image_size[1] - rows) // 2
    return left, top, left + columns, top + rows
