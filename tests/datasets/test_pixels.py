"""The values that models want, and images without labels."""

from pathlib import Path

import keras
import numpy as np
import pytest

from moda_keras import datasets
from moda_keras.datasets.image_folder import find_unlabelled_images, folder_class_names

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BLUE_GREEN_RED = (103.939, 116.779, 123.68)


def wanted(red_green_blue, pixels):
    """One pixel by the formulas of keras.applications."""
    if pixels == "0-1":
        return list(red_green_blue)
    if pixels == "0-255":
        return [255 * value for value in red_green_blue]
    if pixels == "-1-1":
        return [2 * value - 1 for value in red_green_blue]
    if pixels == "imagenet":
        return [(v - m) / d for v, m, d in zip(red_green_blue, MEAN, DEVIATION, strict=True)]
    return [255 * v - m for v, m in zip(red_green_blue[::-1], BLUE_GREEN_RED, strict=True)]


@pytest.mark.parametrize("pixels", ["0-1", "0-255", "-1-1", "imagenet", "caffe"])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_scaled_pixels(pixels, data_format):
    previous = keras.config.image_data_format()
    keras.config.set_image_data_format(data_format)
    try:
        images = np.random.default_rng(0).random((2, 4, 3, 3), "float32")
        before = images.copy()
        given = np.moveaxis(images, -1, 1) if data_format == "channels_first" else images
        found = datasets.scale_pixels(given, pixels)
    finally:
        keras.config.set_image_data_format(previous)
    assert found.dtype == "float32"
    found = np.moveaxis(found, 1, -1) if data_format == "channels_first" else found
    for place in np.ndindex(2, 4, 3):
        np.testing.assert_allclose(
            found[place], wanted(images[place], pixels), rtol=1e-4, atol=1e-3
        )
    np.testing.assert_array_equal(images, before)


def test_pixels_that_are_impossible():
    with pytest.raises(ValueError, match="Expected `pixels` to be one of"):
        datasets.scale_pixels(np.ones((1, 2, 2, 3), "float32"), "0-100")
    with pytest.raises(ValueError, match="Expected images of three channels"):
        datasets.scale_pixels(np.ones((1, 2, 2, 1), "float32"), "caffe")


def test_images_without_labels_are_split(tmp_path):
    for index in range(10):
        (tmp_path / f"{index}.png").touch()
    (tmp_path / "notes.txt").touch()
    train, test = find_unlabelled_images(tmp_path, 0.3, 0)
    names = sorted(Path(path).name for path in (*train, *test))
    assert (len(train), len(test)) == (7, 3) and names == [f"{index}.png" for index in range(10)]
    again = find_unlabelled_images(tmp_path, 0.3, 0)
    np.testing.assert_array_equal(train, again[0])
    (tmp_path / "few").mkdir()
    with pytest.raises(ValueError, match="Received: 0 images"):
        find_unlabelled_images(tmp_path / "few", 0.3, 0)


def test_names_of_class_folders(tmp_path):
    for name in ("train/dog", "train/ant", "test/cat"):
        (tmp_path / name).mkdir(parents=True)
    assert folder_class_names(tmp_path) == ["ant", "cat", "dog"]
    assert folder_class_names(tmp_path / "train") == ["ant", "dog"]
