import keras
import numpy as np
import pytest

from moda_keras.datasets import Dataset, DeviceBatches, EpochBatches, device_batches

SAMPLES = 11


def images(channels=2):
    x = np.random.default_rng(0).normal(size=(SAMPLES, 5, 7, channels)).astype("float32")
    return x, np.arange(SAMPLES, dtype="int32")


@pytest.fixture(params=["channels_last", "channels_first"])
def data_format(request):
    before = keras.config.image_data_format()
    keras.config.set_image_data_format(request.param)
    yield request.param
    keras.config.set_image_data_format(before)


@pytest.mark.parametrize("augment", ["none", "crop", "crop_flip"])
def test_batches_equal_those_of_the_host_bit_for_bit(augment, data_format):
    x, y = images()
    x = np.moveaxis(x, -1, 1) if data_format == "channels_first" else x
    arguments = {"batch_size": 4, "augment": augment, "seed": 3}
    host, device = EpochBatches(x, y, **arguments), DeviceBatches(x, y, **arguments)
    assert len(host) == len(device) == 2
    for host.epoch in (0, 5):
        device.epoch = host.epoch
        for index in range(2):
            for expected, actual in zip(host[index], device[index], strict=True):
                np.testing.assert_array_equal(keras.ops.convert_to_numpy(actual), expected)


def test_trained_model_is_the_same():
    weights = []
    for batches in (EpochBatches, DeviceBatches):
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [keras.Input((5, 7, 2)), keras.layers.Flatten(), keras.layers.Dense(SAMPLES)]
        )
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        drawn = batches(*images(), batch_size=4, augment="crop_flip", seed=1)
        model.fit(drawn, epochs=2, shuffle=False, verbose=0, callbacks=[drawn.tell_epoch()])
        weights.append(model.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


def test_data_set_keeps_images_on_the_device_if_suitable(monkeypatch):
    x, y = images()
    data = Dataset(x, y, x, y, tuple(map(str, range(SAMPLES))))
    for suits, expected in ((False, EpochBatches), (True, DeviceBatches)):
        monkeypatch.setattr("moda_keras.datasets.dataset.suits_device", lambda x, s=suits: s)
        assert type(data.train_batches(4)) is expected


def test_large_data_stays_on_the_host(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    monkeypatch.setattr(device_batches, "MAX_BYTES", 10)
    assert not device_batches.suits_device(images()[0])
