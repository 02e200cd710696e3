"""Which loss a model is trained with."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import moda_keras as mk
from moda_keras.experiments.recipe import compile_by_recipe


@pytest.fixture(scope="module")
def data():
    images = np.random.default_rng(0).normal(size=(12, 4, 4, 1)).astype("float32")
    labels = np.arange(12) % 3
    return mk.datasets.Dataset(images, labels, images[:3], labels[:3], ("0", "1", "2"))


def exponentials(x):
    values = ops.exp(layers.Dense(3)(x))
    return values / ops.sum(values, axis=-1, keepdims=True)


def mean_of_two(x):
    return layers.Average()([layers.Dense(3, activation="softmax")(x) for _ in range(2)])


@pytest.mark.parametrize(
    ("head", "gives_logits"),
    [
        (layers.Dense(3), True),
        (lambda x: layers.Dense(3)(x) / 2.0, True),
        (layers.Dense(3, activation="softmax"), False),
        (layers.Dense(3, activation="log_softmax"), True),
        (lambda x: ops.log(ops.softmax(layers.Dense(3)(x))), True),
        (lambda x: ops.clip(ops.softmax(layers.Dense(3)(x)), 1e-7, 1.0), False),
        (layers.Dense(3, activation=lambda x: ops.softmax(x / 2.0)), False),
        (exponentials, False),
        (mean_of_two, False),
    ],
)
def test_outputs_are_taken_for_what_they_are(head, gives_logits, data):
    inputs = keras.Input((4, 4, 1))
    x = layers.Dense(5, activation="relu")(layers.Flatten()(inputs))
    model = keras.Model(inputs, head(x))
    compile_by_recipe(model, data, learning_rate=0.1, steps=3)
    assert model.get_compile_config()["loss"]["config"]["from_logits"] == gives_logits
