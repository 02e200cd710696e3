"""The methods of data in memory."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moda_keras.datasets import Dataset
from moda_keras.datasets.augmentation import pad_crop_flip
from moda_keras.datasets.pixels import channel_statistics


@pytest.fixture
def data():
    random = np.random.default_rng(0)
    y = np.array([0, 1, 2, 3, 2, 0, 1], "int32")
    x = random.normal(2, 3, (7, 5, 4, 3)).astype("float32")
    return Dataset(x, y, x[:4], y[:4], ("a", "b", "c", "d"), "crop")


def test_new_labels_are_positions_in_the_chosen_classes(data):
    some = data.of_classes([2, 0])
    assert some.class_names == ("c", "a") and some.augment == "crop"
    assert some.y_train.tolist() == [1, 0, 0, 1] and some.y_test.tolist() == [1, 0]
    np.testing.assert_array_equal(some.x_train, data.x_train[[0, 2, 4, 5]])
    np.testing.assert_array_equal(some.x_test, data.x_test[[0, 2]])


@pytest.mark.parametrize("classes", [[4], [-1], [0, 0], []])
def test_invalid_classes_raise(data, classes):
    with pytest.raises(ValueError, match=r"distinct integers from 0 to 3.*Received: classes="):
        data.of_classes(classes)


def test_training_samples_keep_the_given_order(data):
    some = data.with_training_samples(np.array([6, 1]))
    np.testing.assert_array_equal(some.x_train, data.x_train[[6, 1]])
    assert some.y_train.tolist() == [1, 1] and some.x_test is data.x_test


@pytest.mark.parametrize("which", ["unaugmented_batches", "test_batches"])
def test_ordered_batches_have_each_sample_once(data, which):
    batches = getattr(data, which)(3)
    images, labels = (np.concatenate(each) for each in zip(*batches, strict=True))
    is_test = which == "test_batches"
    np.testing.assert_array_equal(images, data.x_test if is_test else data.x_train)
    np.testing.assert_array_equal(labels, data.y_test if is_test else data.y_train)
    assert [len(y) for _, y in batches] == ([3, 1] if is_test else [3, 3, 1])


def test_augmentation_defaults_to_that_of_the_data(data):
    assert data.train_batches(2).augment == "crop"
    assert data.train_batches(2, augment="none").augment == "none"


@given(
    samples=st.integers(1, 7),
    scale=st.floats(0.01, 100),
    offset=st.floats(-100, 100),
    seed=st.integers(0, 99),
)
def test_statistics_equal_those_of_loops(samples, scale, offset, seed):
    x = np.random.default_rng(seed).normal(offset, scale, (samples, 3, 2, 2)).astype("float32")
    mean, deviation = channel_statistics(x)
    for channel in range(2):
        values = [
            float(x[n, i, j, channel]) for n in range(samples) for i in range(3) for j in range(2)
        ]
        expected = sum(values) / len(values)
        variance = sum((value - expected) ** 2 for value in values) / len(values)
        np.testing.assert_allclose(mean[..., channel].item(), expected, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(deviation[..., channel].item(), variance**0.5, rtol=1e-6)


def test_statistics_of_many_images_are_taken_in_blocks(monkeypatch):
    x = np.random.default_rng(0).normal(size=(10, 3, 2, 3)).astype("float32")
    whole = channel_statistics(x)
    monkeypatch.setattr("moda_keras.datasets.pixels.BLOCK", 4)
    for one, other in zip(whole, channel_statistics(x), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-7)


def test_standardized_channels_have_mean_zero_and_deviation_one(data):
    scaled = data.standardized()
    np.testing.assert_allclose(scaled.x_train.mean(axis=(0, 1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(scaled.x_train.std(axis=(0, 1, 2)), 1, atol=1e-6)
    np.testing.assert_allclose(scaled.x_test, scaled.x_train[:4], atol=1e-6)
    assert scaled.x_train.dtype == "float32"


def test_constant_channel_is_not_divided_by_zero():
    x = np.ones((3, 2, 2, 1), "float32")
    y = np.zeros(3, "int32")
    assert (Dataset(x, y, x, y, ("a",)).standardized().x_train == 0).all()


def test_channels_first_are_standardized_like_channels_last(data, channels_first):
    first = Dataset(
        *(
            np.moveaxis(each, -1, 1) if each.ndim == 4 else each
            for each in (data.x_train, data.y_train, data.x_test, data.y_test)
        ),
        data.class_names,
    ).standardized()
    keras.config.set_image_data_format("channels_last")
    expected = data.standardized()
    np.testing.assert_allclose(np.moveaxis(first.x_train, 1, -1), expected.x_train, atol=1e-6)
    np.testing.assert_allclose(np.moveaxis(first.x_test, 1, -1), expected.x_test, atol=1e-6)


def test_digest_depends_on_the_content(data):
    assert data.digest() == data.with_training_samples(np.arange(7)).digest()
    assert len({data.digest(), data.standardized().digest(), data.of_classes([0]).digest()}) == 3


@given(seed=st.integers(0, 999), flips=st.booleans())
def test_augmentation_is_a_shift_and_a_mirror_image(seed, flips):
    """The oracle draws the same random numbers and moves pixel by pixel."""
    x = np.random.default_rng(seed).normal(size=(3, 5, 6, 2)).astype("float32")
    found = pad_crop_flip(x, "crop_flip" if flips else "crop", np.random.default_rng(seed))
    random = np.random.default_rng(seed)
    shifts = random.integers(0, 9, (3, 2)) - 4
    mirrored = random.random(3) < 0.5 if flips else np.zeros(3, bool)
    for n in range(3):
        for i in range(5):
            for j in range(6):
                row, column = i + shifts[n, 0], (5 - j if mirrored[n] else j) + shifts[n, 1]
                is_inside = 0 <= row < 5 and 0 <= column < 6
                expected = x[n, row, column] if is_inside else np.zeros(2)
                np.testing.assert_array_equal(found[n, i, j], expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"augment": "mixup"}, r"`augment` to be one of \['none', 'crop', 'crop_flip'\]"),
        ({"batch_size": 0}, "`batch_size` to be a positive integer"),
        ({"batch_size": "many"}, "`batch_size` to be a positive integer.*'many'"),
    ],
)
def test_invalid_batch_arguments_raise(data, options, message):
    with pytest.raises(ValueError, match=message):
        data.train_batches(**options)


def test_data_without_samples_raises(data):
    with pytest.raises(ValueError, match="at least one training sample"):
        data.with_training_samples(np.arange(0)).train_batches()


def test_a_data_set_is_shown_in_one_line(data):
    shown = "<Dataset of 4 classes: 7 training and 4 test images of shape (5, 4, 3)>"
    assert repr(data) == str(data) == shown
