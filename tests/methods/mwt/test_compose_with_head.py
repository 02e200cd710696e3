"""Composed models with a new output layer."""

import keras
import numpy as np
import pytest
from keras import layers
from masking import run
from mwt_models import chain
from small_models import inputs_of, random_modules

import moda_keras as mk
from moda_keras.methods import mwt


def logits_of_masked_model(modules, classes, x):
    """All logits, of a full-size model with the units of some classes."""
    union = modules.union(classes)
    everywhere = {name: np.repeat(units[None], 4, axis=0) for name, units in union.items()}
    cnn = modules.model
    linear = keras.Model(cnn.input, cnn.get_layer("flatten").output)
    kernel, bias = (keras.ops.convert_to_numpy(w) for w in cnn.get_layer("logits").weights)
    head = layers.Dense(4, name="logits")
    model = keras.Model(cnn.input, head(linear.output))
    head.set_weights([kernel, bias])
    every = mk.ModuleSet.from_units(model, everywhere)
    return run(mk.masked_model(every, [0, 1, 2, 3]), [x])


@pytest.mark.parametrize("head", ["linear", "softmax argument", "softmax layer"])
def test_head_reads_all_logits_of_the_masked_model(head):
    cnn = chain(4, activation="softmax" if head == "softmax argument" else None)
    if head == "softmax layer":
        cnn = keras.Model(cnn.input, layers.Softmax(name="softmax")(cnn.output))
    modules = random_modules(cnn)
    model = mwt.compose_with_head(modules, [3, 1], name="tuned")
    x = inputs_of(model, 5)
    logits = logits_of_masked_model(modules, [3, 1], x)
    kernel, bias = (keras.ops.convert_to_numpy(w) for w in model.get_layer("head").weights)
    expected = logits.astype("float64") @ kernel + bias
    if head != "linear":
        expected = np.exp(expected) / np.exp(expected).sum(axis=1, keepdims=True)
    assert model.name == "tuned" and kernel.shape == (4, 2)
    np.testing.assert_allclose(run(model, [x]), expected, rtol=1e-4, atol=1e-5)
    assert np.ptp(expected, axis=0).min() > 0.01
    assert model.count_params() < cnn.count_params()


def test_model_is_trained_on_the_sub_task_and_leaves_the_modules_as_they_were():
    modules = random_modules(chain(4))
    weights = modules.model.get_weights()
    model = mwt.compose_with_head(modules, ["0", "2"])
    x, y = inputs_of(model, 16), np.arange(16) % 2
    x[y == 1] += 2
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.02), loss)
    losses = model.fit(x, y, epochs=8, verbose=0).history["loss"]
    assert losses[-1] < 0.7 * losses[0]
    assert all((a == b).all() for a, b in zip(weights, modules.model.get_weights(), strict=True))


@pytest.mark.parametrize("classes", [[], [0, 0], [4], ["cow"]])
def test_impossible_classes_are_refused(classes):
    with pytest.raises(ValueError, match="class"):
        mwt.compose_with_head(random_modules(chain(4)), classes)


def test_model_in_place_of_modules_is_refused():
    with pytest.raises(ValueError, match="`ModuleSet`"):
        mwt.compose_with_head(chain(4), [0])
