"""Data that does not fit is told in words, and data that Keras takes is left alone."""

import keras
import numpy as np
import pytest

import moda_keras as mk

X = np.random.default_rng(0).random((12, 4)).astype("float32")
Y = np.arange(12) % 3


def modular_model(loss=None):
    inputs = keras.Input((4,))
    x = keras.layers.Dense(6, activation="relu")(inputs)
    model = mk.ModularModel(inputs, keras.layers.Dense(3)(x))
    task = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", task, modular_loss=loss)
    return model


METHODS = ["fit", "evaluate", "train_on_batch", "test_on_batch"]


@pytest.mark.parametrize("loss", [None, mk.MODALoss()])
@pytest.mark.parametrize("method", METHODS)
def test_fewer_labels_than_samples(method, loss):
    with pytest.raises(ValueError, match=r"Received: \[12\] samples in `x` and 9 labels in `y`"):
        getattr(modular_model(loss), method)(X, Y[:9])


@pytest.mark.parametrize("method", METHODS)
def test_samples_of_another_shape(method):
    with pytest.raises(ValueError, match=r"samples of shape \(4,\).*`x` of shape \(12, 3\)"):
        getattr(modular_model(), method)(X[:, :3], Y)


@pytest.mark.parametrize("method", METHODS)
def test_fewer_weights_than_samples(method):
    with pytest.raises(ValueError, match=r"each of the 12 samples.*an array of shape \(9,\)"):
        getattr(modular_model(), method)(X, Y, sample_weight=np.ones(9))


@pytest.mark.parametrize("method", METHODS)
def test_weights_that_are_none(method):
    weight = np.where(np.arange(12) == 3, -1.0, 1.0)
    with pytest.raises(ValueError, match=r"finite numbers >= 0. Received: 1 that are negative"):
        getattr(modular_model(mk.MODALoss()), method)(X, Y, sample_weight=weight)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((X, Y[:5]), "12.*5 labels"),
        ([X[:, :2], Y], "samples of shape"),
        ((X, Y, np.ones(3)), r"shape \(3,\)"),
        ((X, Y + 1), "labels from 0 to 2"),
    ],
)
def test_validation_data(data, message):
    with pytest.raises(ValueError, match=f"In `validation_data`: .*{message}"):
        modular_model(mk.MODALoss()).fit(X, Y, validation_data=data, verbose=0)


class Marked(mk.ModularModel):
    """A model of its own `call`, which knows no inputs."""

    def __init__(self):
        super().__init__()
        self.hidden, self.last = keras.layers.Dense(6), keras.layers.Dense(3)
        self.activation = mk.layers.ModularActivation("relu")

    def call(self, x):
        return self.last(self.activation(self.hidden(x)))


def test_models_without_a_graph():
    model = Marked()
    task = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", task, modular_loss=mk.MODALoss())
    with pytest.raises(ValueError, match=r"\[12\] samples in `x` and 9 labels"):
        model.fit(X, Y[:9])


def batches():
    while True:
        yield X, Y


class Unread(keras.utils.PyDataset):
    """Batches; none may be read before training begins."""

    def __init__(self):
        super().__init__()
        self.read = 0

    def __len__(self):
        return 1

    def __getitem__(self, index):
        self.read += 1
        return X, Y


def test_datasets_are_not_consumed():
    model = modular_model()
    data = Unread()
    model._check_data(data, None, validation_data=Unread())
    assert data.read == 0
    model.fit(data, validation_data=Unread(), verbose=0)
    model.fit(batches(), steps_per_epoch=1, verbose=0)


def test_data_that_keras_takes_is_left_alone():
    model = modular_model()
    model.fit(X, Y[:, None], sample_weight=np.ones(12), validation_split=0.5, verbose=0)
    model.fit([X], [Y], validation_data=(X[:3], Y[:3]), verbose=0)
    model.fit(keras.ops.convert_to_tensor(X), keras.ops.convert_to_tensor(Y), verbose=0)
