"""Frozen parts of a patched model do in training what they do in inference."""

import keras
import numpy as np
import pytest
from keras import layers
from masking import randomize, relative_difference
from small_models import random_modules

import moda_keras as mk

IMAGE, SEQUENCE = (6, 6, 2), (4, 3)


@keras.saving.register_keras_serializable(package="tests")
class Noisy(layers.Layer):
    def call(self, inputs, training=False):
        return inputs * 2.0 if training else inputs


QUIET = {
    "flip": (IMAGE, lambda: layers.RandomFlip()),
    "rotation": (IMAGE, lambda: layers.RandomRotation(0.3)),
    "pipeline": (IMAGE, lambda: layers.Pipeline([layers.RandomFlip(), layers.Rescaling(0.5)])),
    "pipeline of noise": (IMAGE, lambda: layers.Pipeline([layers.RandomContrast(0.9)])),
    "spectral norm": (IMAGE, lambda: layers.SpectralNormalization(layers.Conv2D(3, 2))),
    "dropout over time": (SEQUENCE, lambda: layers.TimeDistributed(layers.Dropout(0.5))),
    "cell": (SEQUENCE, lambda: layers.RNN(layers.LSTMCell(4, dropout=0.5))),
}
if keras.backend.backend() == "jax":  # each compiles anew
    QUIET = {name: QUIET[name] for name in ("flip", "spectral norm", "cell")}


def network(shape, layer, classes=3):
    inputs = keras.Input(shape)
    x = layers.Flatten()(layer(inputs))
    return randomize(keras.Model(inputs, layers.Dense(classes)(layers.Dense(5, "relu")(x))))


def patched_model(shape, make):
    modules = random_modules(network(shape, make()), fraction=0.7)
    return mk.replace(network(shape, make()), modules[0], target_class=1)


@pytest.mark.parametrize("name", QUIET)
def test_training_is_as_inference(name, recwarn):
    shape, make = QUIET[name]
    patched = patched_model(shape, make)
    assert not [each for each in recwarn if "in training" in str(each.message)]
    x = np.random.default_rng(0).normal(size=(6, *shape)).astype("float32")
    before = [keras.ops.convert_to_numpy(w) for w in patched.non_trainable_variables]
    trained, inferred = (
        keras.ops.convert_to_numpy(patched(x, training=mode)) for mode in (True, False)
    )
    assert relative_difference(trained, inferred) < 1e-5
    after = [keras.ops.convert_to_numpy(w) for w in patched.non_trainable_variables]
    assert all(np.array_equal(*each) for each in zip(before, after, strict=True))


@pytest.mark.parametrize("make", [Noisy, lambda **name: layers.RandomCrop(4, 4, **name)])
def test_layer_that_may_still_be_noisy_is_named(make):
    with pytest.warns(UserWarning, match=r"layers \['odd'\] of model .* otherwise in training"):
        patched_model(IMAGE, lambda: make(name="odd"))
