import keras
import numpy as np
import pytest
from keras import layers

import moda_keras as mk
from moda_keras.ops.backends import backend

needs_tap = pytest.mark.skipif(not backend.has_tap, reason="this backend has no tap")
X = np.random.default_rng(0).normal(size=(12, 6, 6, 2)).astype("float32")
Y = np.arange(12) % 3


def model(activation):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(4, 3, activation=activation)(inputs)
    shortcut = x = layers.BatchNormalization()(x)
    x = layers.Conv2D(4, 3, padding="same", activation=activation)(x)
    x = layers.Add()([layers.Dropout(0.2, seed=2)(x), shortcut])
    x = layers.Dense(5, activation=activation)(layers.Flatten()(x))
    return mk.ModularModel(inputs, layers.Dense(3)(x))


def trained_weights(activation, **options):
    trained = model(activation)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    trained.compile(
        keras.optimizers.SGD(0.1), loss, modular_loss=mk.MODALoss(2.0, 2.0, 2.0), **options
    )
    trained.fit(X, Y, batch_size=6, epochs=2, shuffle=False, verbose=0)
    return trained.get_weights()


@needs_tap
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("options", [{}, {"run_eagerly": True}, {"jit_compile": True}])
def test_tap_trains_as_activations_that_are_put_out(activation, options, monkeypatch):
    tapped = trained_weights(activation, **options)
    monkeypatch.setattr(backend, "has_tap", False)
    expected = trained_weights(activation, **options)
    for actual, weight in zip(tapped, expected, strict=True):
        np.testing.assert_allclose(actual, weight, rtol=1e-4, atol=1e-6)


@needs_tap
@pytest.mark.parametrize("non_negative", [True, False])
@pytest.mark.parametrize(("shape", "axis"), [((2, 3, 4, 5), 3), ((2, 5, 3, 4), 1), ((2, 4, 3), 2)])
def test_tap_adds_the_gradient_of_the_mean_magnitude(shape, axis, non_negative):
    import tensorflow as tf

    values = np.random.default_rng(0).normal(size=shape)
    values[0] = 0
    values = np.abs(values) if non_negative else values
    x = tf.constant(values)
    weights = tf.constant(np.random.default_rng(1).normal(size=(shape[0], shape[axis])))

    with tf.GradientTape() as tape:
        tape.watch(x)
        passed, vectors = backend.tap(x, axis, non_negative)
        value = tf.reduce_sum(passed * passed) + tf.reduce_sum(vectors * weights)
    gradient = tape.gradient(value, x)

    others = tuple(i for i in range(1, len(shape)) if i != axis)
    np.testing.assert_allclose(vectors, np.abs(values).mean(axis=others))
    shares = np.expand_dims(weights.numpy() / np.prod([shape[i] for i in others]), others)
    signs = 1 if non_negative else np.sign(values)
    np.testing.assert_allclose(gradient, 2 * values + shares * signs)


@needs_tap
def test_mask_of_a_sequence_is_kept():
    inputs = keras.Input((4,), dtype="int32")
    x = layers.Embedding(5, 3, mask_zero=True)(inputs)
    x = layers.Activation("relu")(x)
    x = layers.GlobalAveragePooling1D()(x)
    masked = mk.ModularModel(inputs, layers.Dense(3)(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    masked.compile("sgd", loss, modular_loss=mk.MODALoss())
    tokens = np.array([[1, 2, 0, 0], [3, 4, 1, 0], [2, 0, 0, 0]])
    plain = keras.Model(masked.input, masked.output)
    plain.compile("sgd", loss)

    logs = masked.evaluate(tokens, np.arange(3), verbose=0, return_dict=True)

    assert logs["task_loss"] == pytest.approx(plain.evaluate(tokens, np.arange(3), verbose=0))
