"""A small training with random layers, and how it is interrupted."""

import keras
import numpy as np
import pytest
from small_models import BACKEND

X = np.random.default_rng(0).normal(size=(24, 5)).astype("float32")
Y = (X.sum(axis=1, keepdims=True) > 0).astype("float32")
# TensorFlow shuffles arrays with a state that nobody can read.
SHUFFLE = BACKEND != "tensorflow"
on_one_backend = pytest.mark.skipif(BACKEND != "torch", reason="files do not depend on the backend")


def new_model(units=6, optimizer=None):
    model = keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Dense(units, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.4),
            keras.layers.Dense(1),
        ]
    )
    model.compile(optimizer or keras.optimizers.Adam(0.05), "mse")
    return model


class Stop(keras.callbacks.Callback):
    """Raises an interrupt in the middle of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.last = epoch

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.epoch == self.last and batch == 1:
            raise KeyboardInterrupt


def state_of(model):
    variables = [*model.variables, *model.optimizer.variables]
    return [keras.ops.convert_to_numpy(each) for each in variables]


def assert_same(one, other):
    for mine, its in zip(state_of(one), state_of(other), strict=True):
        np.testing.assert_array_equal(mine, its)
