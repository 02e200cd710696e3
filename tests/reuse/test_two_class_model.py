"""Binary models of one output as models of two classes."""

import keras
import numpy as np
import pytest
from keras import layers
from masking import randomize
from small_models import inputs_of, mlp

import moda_keras as mk


def binary(*head, inputs=4):
    hidden = layers.Dense(6, activation="relu", name="first")
    return randomize(keras.Sequential([keras.Input((inputs,)), hidden, *head], name="binary"))


def stable_sigmoid(z):
    return 1 / (1 + np.exp(-z.astype("float64")))


HEADS = {
    "in the layer": lambda: [layers.Dense(1, activation="sigmoid")],
    "on its own": lambda: [layers.Dense(1), layers.Activation("sigmoid")],
    "hard": lambda: [layers.Dense(1, activation="hard_sigmoid")],
    "in float32": lambda: [
        layers.Dense(1, dtype="mixed_bfloat16"),
        layers.Activation("sigmoid", dtype="float32"),
    ],
}


@pytest.mark.parametrize("head", HEADS)
def test_outputs_are_the_probabilities_of_both_classes(head, tmp_path):
    model = binary(*HEADS[head]())
    before = [weight.copy() for weight in model.get_weights()]
    two = mk.two_class_model(model)
    x = inputs_of(model, 20) * 3
    p = model.predict(x, verbose=0).astype("float64")
    np.testing.assert_allclose(two.predict(x, verbose=0), np.hstack([1 - p, p]), atol=2e-6)
    two.save(tmp_path / "two.keras")
    loaded = keras.saving.load_model(tmp_path / "two.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), two.predict(x, verbose=0))
    assert (two.name, two.output_shape) == ("binary", (None, 2))
    for old, weight in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, weight)
    two.get_layer("first").kernel.assign(np.zeros((4, 6)))
    np.testing.assert_allclose(model.predict(x, verbose=0), p, atol=1e-6)


def test_logit_is_given_its_negative():
    model = binary(layers.Dense(1))
    x = inputs_of(model, 20)
    z = model.predict(x, verbose=0)
    np.testing.assert_array_equal(
        mk.two_class_model(model).predict(x, verbose=0), np.hstack([-z, z])
    )


def test_modules_of_both_classes():
    model = binary(layers.Dense(5, activation="relu", name="second"), *HEADS["in the layer"]())
    two, x = mk.two_class_model(model), inputs_of(model, 30)
    labels = (x[:, :1] > 0).astype("int32")
    modules = mk.decompose(two, x, labels, class_names=["no", "yes"], threshold=0.7, verbose=0)
    for classes in (["yes", "no"], ["yes"], ["no"]):
        small = mk.compose(modules, classes)
        masked = mk.masked_model(modules, classes)
        received = small.predict(x, verbose=0)
        np.testing.assert_allclose(received, masked.predict(x, verbose=0), rtol=1e-4, atol=1e-6)
        assert np.ptp(received) > 0.01  # one class alone is not constant
    np.testing.assert_allclose(
        mk.compose(modules, [0, 1]).predict(x, verbose=0).sum(1), 1, atol=1e-6
    )


def test_binary_cross_entropy_of_one_hot_labels_is_that_of_the_original():
    model = binary(*HEADS["in the layer"]())
    two, x = mk.two_class_model(model), inputs_of(model, 12)
    labels = np.arange(12) % 2
    model.compile("sgd", "binary_crossentropy")
    modular = mk.ModularModel.from_model(two)
    modular.compile("sgd", "binary_crossentropy", modular_loss=mk.MODALoss())
    expected = model.evaluate(x, labels, verbose=0)
    rows = keras.utils.to_categorical(labels, 2)
    losses = modular.evaluate(x, rows, verbose=0, return_dict=True)
    assert losses["task_loss"] == pytest.approx(expected, rel=1e-4)
    modular.fit(x, rows, epochs=2, verbose=0)
    outputs = modular.predict(x, verbose=0)
    np.testing.assert_allclose(outputs.sum(axis=1), 1, atol=1e-6)  # still a binary model


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: mlp(), r"one output of shape \(batch, 1\)"),
        (lambda: binary(layers.Dense(1, activation="tanh")), "goes through 'tanh'"),
        (lambda: binary(layers.Dense(1, activation="softmax")), "goes through 'softmax'"),
        (lambda: "binary.keras", "Expected `model` to be a keras.Model"),
        (lambda: keras.Sequential([layers.Dense(1)]), "not built yet"),
    ],
)
def test_other_models_are_refused(model, message):
    with pytest.raises(ValueError, match=message):
        mk.two_class_model(model())


def test_binary_models_are_pointed_to_it():
    model = binary(layers.Dense(1))
    with pytest.raises(ValueError, match=r"mk\.two_class_model\(model\)"):
        mk.decompose(model, inputs_of(model, 4), np.arange(4) % 2)
