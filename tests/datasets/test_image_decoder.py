"""Crops of streamed images, compared with loops."""

import io

import keras
import numpy as np
import pytest

from moda_keras.datasets.image_decoder import ImageDecoder

Image = pytest.importorskip("PIL.Image")


def encode(image, image_format="png", **options):
    file = io.BytesIO()
    Image.fromarray(image).save(file, image_format, **options)
    return file.getvalue()


def ramp(height, width):
    """Red is the row and green the column, so a crop shows its position."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, rows * 0 + 77], axis=-1).astype("uint8")


def resized_by_loops(image, height, width):
    """Bilinear; when reducing, the triangle filter is as wide as a new pixel."""
    for axis, size in enumerate((height, width)):
        old = image.shape[axis]
        scale = old / size
        reach = max(scale, 1.0)
        lines = []
        for index in range(size):
            center = (index + 0.5) * scale - 0.5
            weights = np.array([max(0.0, 1 - abs(i - center) / reach) for i in range(old)])
            lines.append(np.tensordot(weights / weights.sum(), image, (0, axis)))
        image = np.stack(lines, axis=axis)
    return image


@pytest.mark.parametrize(
    ("shape", "size"), [((40, 64), (16, 16)), ((21, 13), (28, 28)), ((30, 30), (8, 20))]
)
def test_center_is_the_middle_seven_eighths_resized(shape, size):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype("uint8")
    scale = min(shape[0] / size[0], shape[1] / size[1])
    height, width = (max(1, round(0.875 * scale * side)) for side in size)
    top, left = (shape[0] - height) // 2, (shape[1] - width) // 2
    crop = image[top : top + height, left : left + width].astype("float64")
    expected = resized_by_loops(crop, *size) / 255
    found = ImageDecoder(size).center(encode(image))
    # Pillow rounds to 8 bits after each axis.
    np.testing.assert_allclose(found, expected, atol=1.1 / 255)


def crops(augment, number=300):
    """Rows and columns at the edges of random crops of a large ramp."""
    decoder, image = ImageDecoder((8, 8)), encode(ramp(60, 100))
    generators = [np.random.default_rng((5, i)) for i in range(number)]
    return np.stack([decoder.random(image, augment, random) for random in generators]) * 255


def test_random_crops_have_the_areas_and_ratios_of_the_papers():
    images = crops("crop")
    # The centers of the first and the last of 8 equal parts are 7/8 of a crop apart.
    heights = (images[:, -1, 0, 0] - images[:, 0, 0, 0]) * 8 / 7
    widths = (images[:, 0, -1, 1] - images[:, 0, 0, 1]) * 8 / 7
    areas, ratios = heights * widths / (60 * 100), widths / heights
    assert 0.07 < areas.min() < 0.15 and 0.7 < areas.max() <= 1.03
    assert 0.7 < ratios.min() < 0.85 and 1.2 < ratios.max() < 1.5  # rounded to 8 bits
    assert len({tuple(corner) for corner in np.rint(images[:, 0, 0, :2])}) > 200


def test_crop_flip_mirrors_half_of_the_same_crops():
    plain, flipped = crops("crop"), crops("crop_flip")
    is_mirrored = flipped[:, 0, 0, 1] > flipped[:, 0, -1, 1]
    assert 0.4 < is_mirrored.mean() < 0.6
    back = np.where(is_mirrored[:, None, None, None], flipped[:, :, ::-1], flipped)
    np.testing.assert_allclose(back, plain, atol=1e-3)


def test_none_takes_the_center():
    decoder, image = ImageDecoder((8, 8)), encode(ramp(40, 50))
    random = np.random.default_rng(1)
    np.testing.assert_array_equal(decoder.random(image, "none", random), decoder.center(image))


@pytest.mark.parametrize(("shape", "size"), [((3, 201), (3, 4)), ((201, 3), (4, 3))])
def test_long_images_are_cropped_in_the_center_to_the_allowed_ratio(shape, size):
    image = ramp(*shape)
    top, left = (shape[0] - size[0]) // 2, (shape[1] - size[1]) // 2
    expected = image[top : top + size[0], left : left + size[1]] / 255
    found = ImageDecoder(size).random(encode(image), "crop", np.random.default_rng(0))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_color_and_format_of_files():
    photo = np.full((20, 20, 3), (200, 100, 50), "uint8")
    grey = ImageDecoder((4, 4), "grey").center(encode(photo, "jpeg", quality=100))
    assert grey.shape == (4, 4, 1)
    np.testing.assert_allclose(grey, (0.299 * 200 + 0.587 * 100 + 0.114 * 50) / 255, atol=0.01)


def test_channels_are_scaled_and_may_come_first(channels_first):
    decoder = ImageDecoder((4, 4), mean=(0.1, 0.2, 0.3), deviation=(0.5, 1.0, 2.0))
    found = decoder.center(encode(np.full((9, 9, 3), (255, 51, 0), "uint8")))
    assert found.shape == decoder.image_shape == (3, 4, 4)
    np.testing.assert_allclose(found[:, 0, 0], [1.8, 0.0, -0.15], atol=1e-6)
    assert keras.config.image_data_format() == "channels_first"
