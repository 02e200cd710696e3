import keras
import numpy as np
import pytest

from moda_keras.datasets import EpochBatches


def batches_of(augment="none", seed=0, samples=10, **arguments):
    x = np.arange(samples * 6 * 6, dtype="float32").reshape(samples, 6, 6, 1) + 1
    return EpochBatches(
        x, np.arange(samples), batch_size=4, augment=augment, seed=seed, **arguments
    )


def test_batches_of_an_epoch_do_not_depend_on_what_was_drawn_before():
    one, other = batches_of("crop_flip"), batches_of("crop_flip")
    one.epoch = other.epoch = 3
    other[1]
    for index in range(2):
        assert (one[index][0] == other[index][0]).all()
        assert (one[index][1] == other[index][1]).all()


def test_epochs_and_seeds_differ():
    first, later = batches_of(), batches_of()
    later.epoch = 1
    assert (first[0][1] != later[0][1]).any()
    assert (first[0][1] != batches_of(seed=1)[0][1]).any()


def test_an_epoch_has_each_sample_at_most_once_in_full_batches():
    batches = batches_of()
    labels = np.concatenate([batches[index][1] for index in range(len(batches))])
    assert len(batches) == 2 and len(set(labels.tolist())) == 8


def test_crop_shifts_each_image_by_up_to_four_pixels():
    batches = batches_of("crop")
    for image, label in zip(*batches[0], strict=True):
        padded = np.pad(batches.x[label, :, :, 0], 4)
        shifts = [padded[i : i + 6, j : j + 6] for i in range(9) for j in range(9)]
        assert any((image[:, :, 0] == shift).all() for shift in shifts)


def test_callback_sets_the_epoch():
    batches = batches_of()
    seen = []
    model = keras.Sequential(
        [keras.Input((6, 6, 1)), keras.layers.Flatten(), keras.layers.Dense(1)]
    )
    model.compile("sgd", "mse")
    record = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: seen.append(batches.epoch))
    model.fit(
        batches, epochs=5, initial_epoch=3, verbose=0, callbacks=[batches.tell_epoch(), record]
    )
    assert seen == [3, 4]


def test_epochs_are_counted_without_the_callback():
    batches = batches_of(samples=24)
    seen = []
    model = keras.Sequential(
        [keras.Input((6, 6, 1)), keras.layers.Flatten(), keras.layers.Dense(1)]
    )
    model.compile("sgd", "mse")
    record = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: seen.append(batches.epoch))
    model.fit(batches, epochs=3, shuffle=False, verbose=0, callbacks=[record])
    model.fit(batches, epochs=1, shuffle=False, verbose=0, callbacks=[record])
    assert seen == [0, 1, 2, 3]


@pytest.mark.parametrize("augment", ["crop", "crop_flip"])
def test_channels_first_images_are_augmented_like_channels_last(augment):
    last = batches_of(augment)[0][0]
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    try:
        batches = batches_of(augment)
        batches.x = np.moveaxis(batches.x, -1, 1)
        first = batches[0][0]
    finally:
        keras.config.set_image_data_format(before)
    assert (np.moveaxis(first, 1, -1) == last).all()
