"""Embeddings and layers around other layers."""

import keras
import numpy as np
import pytest
from keras import layers
from masking import check_slicing, module_set, random_units, randomize, run
from small_models import BACKEND

import moda_keras as mk
from moda_keras.slicing import Slicer


def words(samples=5, length=6, seed=0):
    x = np.random.default_rng(seed).integers(1, 9, (samples, length))
    x[:, 4:] = 0
    return [x.astype("int32")]


def text_model(middle, length=6, **embedding):
    inputs = keras.Input((length,), dtype="int32")
    x = layers.Embedding(9, 8, name="vectors", **embedding)(inputs)
    x = middle(x)
    return randomize(keras.Model(inputs, layers.Dense(4)(x)))


def check_text(model, fraction=0.5):
    units = random_units(model, fraction)
    slicer = Slicer(model)
    plan = slicer.plan(units, np.array([2, 0]))
    sliced = slicer.build(plan)
    expected = run(mk.masked_model(module_set(model, units), [2, 0]), words())
    np.testing.assert_allclose(run(sliced, words()), expected, rtol=1e-4, atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 0
    trainable = sum(int(np.prod(weight.shape)) for weight in sliced.trainable_weights)
    assert plan.trainable_size == trainable
    return sliced


@pytest.mark.parametrize("length", [6, None])
@pytest.mark.parametrize("mask_zero", [False, True])
def test_vectors_are_sliced_and_masks_are_kept(mask_zero, length):
    def middle(x):
        x = layers.Activation("tanh", name="features")(x)
        return layers.GlobalAveragePooling1D(name="pool")(x)

    model = text_model(middle, length, mask_zero=mask_zero)
    sliced = check_text(model)
    assert sliced.get_layer("vectors").output_dim == 4
    assert sliced.get_layer("vectors").mask_zero == mask_zero


# JAX compiles for every model anew.
@pytest.mark.parametrize(
    "kind", [layers.LSTM, layers.GRU, layers.SimpleRNN][: 1 if BACKEND == "jax" else 3]
)
def test_masked_words_pass_a_recurrent_layer_by(kind):
    model = text_model(kind(8, name="state"), mask_zero=True)
    sliced = check_text(model)
    assert sliced.get_layer("state").units == 4
    longer = [np.pad(words()[0], ((0, 0), (0, 2)))]
    open_ended = text_model(kind(8, name="state"), None, mask_zero=True)
    small = check_text(open_ended)
    np.testing.assert_allclose(run(small, longer), run(small, words()), rtol=1e-5, atol=1e-6)


def test_masked_words_of_two_directions_and_of_attention():
    def middle(x):
        x = layers.Bidirectional(layers.LSTM(6, return_sequences=True), merge_mode="sum")(x)
        x = layers.MultiHeadAttention(2, 3)(x, x)
        x = layers.TimeDistributed(layers.Dense(8, activation="relu"), name="each")(x)
        return layers.GlobalAveragePooling1D()(x)

    model = text_model(middle, mask_zero=True)
    assert [h.units for h in mk.find_hidden_activations(model)] == [6, 6, 2, 8]
    check_text(model, fraction=0.8)


def test_embedding_read_twice_gives_all_vectors_that_anyone_needs():
    vectors = layers.Embedding(9, 8, name="vectors")

    def model_of():
        inputs = keras.Input((6,), dtype="int32")
        parts = [layers.Activation("relu", name=f"part{i}")(vectors(inputs)) for i in range(2)]
        x = layers.GlobalAveragePooling1D()(layers.Concatenate()(parts))
        return randomize(keras.Model(inputs, layers.Dense(4)(x)))

    check_text(model_of())


# --------------------------------------------------------------------------------------- wrappers


@pytest.mark.parametrize("shape", [(5,), (6, 6, 3)])
def test_spectral_normalization_stays_whole(shape):
    """Its kernel is divided by the norm of all of it whenever it is trained."""
    inner = layers.Dense(6) if len(shape) == 1 else layers.Conv2D(6, 3)
    inputs = keras.Input(shape)
    x = layers.Dense(5, activation="relu", name="features")(inputs)
    x = layers.SpectralNormalization(inner, name="wrapped")(x)
    x = layers.Dense(6, activation="elu")(layers.Flatten()(x))
    model = randomize(keras.Model(inputs, layers.Dense(4)(x)))
    check_slicing(model, random_units(model, 0.5))
    plan = Slicer(model).plan({}, np.array([0]))
    assert "wrapped" in plan.kept_whole
