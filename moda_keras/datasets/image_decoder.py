"""From image files to images of one size, in TensorFlow's input pipelines."""

from dataclasses import dataclass
from typing import Any

import keras

from moda_keras.datasets.tfds_splits import import_tensorflow

# A random crop takes this share of the area, of this ratio of width to height; the crop in the
# centre this share of the shorter side (224 of 256 pixels).
CROP_AREA = (0.08, 1.0)
CROP_RATIO = (3 / 4, 4 / 3)
CENTRE = 0.875


@dataclass(frozen=True)
class ImageDecoder:
    """How image files become images.

    Attributes:
        size: Height and width.
        color: "grey" or "rgb".
        mean, deviation: For each channel, what is subtracted from and what divides values in
            [0, 1].
    """

    size: tuple[int, int]
    color: str = "rgb"
    mean: tuple[float, ...] = (0.0,)
    deviation: tuple[float, ...] = (1.0,)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of an image."""
        channels = 1 if self.color == "grey" else 3
        if keras.config.image_data_format() == "channels_first":
            return (channels, *self.size)
        return (*self.size, channels)

    def centre(self, encoded: Any) -> Any:
        """The centre of an image.

        Args:
            encoded: Content of an image file, a string tensor.

        Returns:
            Float32 tensor of `image_shape`: the largest crop from the centre with the ratio of
            `size`, less an eighth, resized.
        """
        image = self._decode(encoded)
        return self._finish(_crop(image, *_centre_box(image, self.size)))

    def random(self, encoded: Any, augment: str, seed: Any) -> Any:
        """A random part of an image.

        Args:
            encoded: Content of an image file, a string tensor.
            augment: "crop" takes 8 to 100 % of the area, of a ratio of 3/4 to 4/3; "crop_flip" also
                mirrors half of the images; "none" takes the centre.
            seed: Int tensor (2,), of which alone the crop depends.

        Returns:
            Float32 tensor of `image_shape`.
        """
        if augment == "none":
            return self.centre(encoded)
        random = import_tensorflow().random
        seeds = random.split(seed, 2)
        image = self._decode(encoded)
        image = _crop(image, *_random_box(image, seeds[0]))
        if augment == "crop_flip":
            image = _mirrored(image, random.stateless_uniform((), seeds[1]) < 0.5)
        return self._finish(image)

    def _decode(self, encoded: Any) -> Any:
        channels = 1 if self.color == "grey" else 3
        return import_tensorflow().io.decode_image(encoded, channels, expand_animations=False)

    def _finish(self, image: Any) -> Any:
        tf = import_tensorflow()
        image = tf.image.resize(image, self.size, antialias=True) / 255.0
        image = (image - tf.constant(self.mean)) / tf.constant(self.deviation)
        if keras.config.image_data_format() == "channels_first":
            image = tf.transpose(image, (2, 0, 1))
        return tf.ensure_shape(image, self.image_shape)


def _centre_box(image: Any, size: tuple[int, int]) -> tuple[Any, Any]:
    """Corner and size of the crop from the centre."""
    tf = import_tensorflow()
    shape = tf.shape(image)[:2]
    scale = tf.reduce_min(tf.cast(shape, "float32") / tf.constant(size, "float32"))
    box = tf.maximum(tf.cast(tf.round(CENTRE * scale * tf.constant(size, "float32")), "int32"), 1)
    return (shape - box) // 2, box


def _random_box(image: Any, seed: Any) -> tuple[Any, Any]:
    """Corner and size of a random crop."""
    tf = import_tensorflow()
    corner, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.shape(image),
        tf.zeros((1, 0, 4)),
        seed,
        min_object_covered=0.0,
        aspect_ratio_range=CROP_RATIO,
        area_range=CROP_AREA,
        use_image_if_no_bounding_boxes=True,
    )
    return corner[:2], size[:2]


def _crop(image: Any, corner: Any, size: Any) -> Any:
    return image[corner[0] : corner[0] + size[0], corner[1] : corner[1] + size[1]]


def _mirrored(image: Any, condition: Any) -> Any:
    tf = import_tensorflow()
    return tf.where(condition, tf.reverse(image, [1]), image)
