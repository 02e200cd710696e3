"""Classes are compared by their logits: the probabilities of several may all be 0."""

from itertools import combinations
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import layers, ops
from masking import randomize
from small_models import mlp, random_modules

import moda_keras as mk
from moda_keras.cli.evaluate import _accuracy
from moda_keras.evaluation.logits import predict_logits
from moda_keras.reporting.expected_accuracy import expect_accuracy
from moda_keras.tuning.reuse_loss import ReuseLoss

SCALE = 300.0  # as of pixels up to 255 that go into a model of pixels up to 1
SUBTASKS = list(combinations(range(5), 3))


class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.first = layers.Dense(6, activation="relu")
        self.second = layers.Dense(5, activation="relu")
        self.head = layers.Dense(5)

    def call(self, x):
        return ops.softmax(self.head(self.second(self.first(x))))


def net():
    model = Net()
    model(np.zeros((1, 4), "float32"))
    return randomize(model)


def followed_by(ending):
    def make():
        plain = mlp(classes=5)
        return keras.Model(plain.inputs, ending(plain.outputs[0]))

    return make


def own_softmax(logits):
    powers = ops.exp(logits - ops.max(logits, axis=-1, keepdims=True))
    return powers / ops.sum(powers, axis=-1, keepdims=True)


MODELS = {
    "argument softmax": lambda: _with_activation("softmax"),
    "own function": lambda: _with_activation(own_softmax),
    "layer": followed_by(layers.Softmax(name="softmax")),
    "log softmax": followed_by(layers.Activation("log_softmax")),
    "operation": followed_by(ops.softmax),
    "subclassed": net,
}


def _with_activation(activation):
    plain = mlp(classes=5)
    head = layers.Dense(5, activation=activation, name="head")
    model = keras.Model(plain.inputs, head(plain.get_layer("second").output))
    head.set_weights(plain.get_layer("logits").get_weights())
    return model


def logits_of(model, x):
    """By hand, in float64."""
    *hidden, head = (w.astype("float64") for w in model.get_weights())
    pairs = list(zip([*hidden, head][::2], [*hidden, head][1::2], strict=True))
    for kernel, bias in pairs[:-1]:
        x = np.maximum(x @ kernel + bias, 0)
    return x @ pairs[-1][0] + pairs[-1][1]


def samples(model):
    x = (SCALE * np.random.default_rng(2).normal(size=(60, 4))).astype("float32")
    return x, np.arange(60) % 5


def accuracy_among(scores, y, classes):
    rows = np.isin(y, classes)
    return np.mean(np.array(classes)[scores[rows][:, list(classes)].argmax(axis=1)] == y[rows])


@pytest.mark.parametrize("kind", MODELS)
def test_full_accuracy_is_that_of_the_logits(kind):
    model = MODELS[kind]()
    x, y = samples(model)
    expected = logits_of(model, x)
    np.testing.assert_allclose(predict_logits(model, x), expected, rtol=1e-4, atol=1e-2)
    for classes in SUBTASKS:
        found = mk.metrics.full_accuracy(model, classes, x, y)
        assert found == pytest.approx(accuracy_among(expected, y, classes))


@pytest.fixture(scope="module")
def saturated():
    model = _with_activation("softmax")
    x, y = samples(model)
    logits = logits_of(model, x)
    expected = [accuracy_among(logits, y, classes) for classes in SUBTASKS]
    probabilities = model.predict(x, verbose=0)
    wrong = [accuracy_among(probabilities, y, classes) for classes in SUBTASKS]
    assert np.abs(np.array(wrong) - expected).max() > 0.05
    return random_modules(model), x, y, expected


def test_full_model_is_as_accurate_as_its_head_alone(saturated):
    modules, x, y, expected = saturated
    for classes, accuracy in zip(SUBTASKS, expected, strict=True):
        measured = mk.metrics.ModelMeasurement(modules, classes, x, y, batch_size=None)
        for figures in (measured.full(), measured.head_only()):
            assert figures["accuracy"] == pytest.approx(accuracy)
            assert figures["agreement"] == 1


def test_subtasks_of_a_sweep(saturated):
    modules, x, y, expected = saturated
    rows = mk.metrics.SubtaskMeasurement(modules, x, y).measure(SUBTASKS)
    assert [row["full_accuracy"] for row in rows] == pytest.approx(expected)


def test_losses_of_thresholds(saturated):
    modules, x, y, expected = saturated
    counted = mk.decompose(modules.model, x, y, verbose=0)
    assert ReuseLoss(counted, x, y, SUBTASKS).full_accuracy == pytest.approx(expected)


def test_report(saturated):
    modules, x, y, expected = saturated
    found = expect_accuracy(modules, x, y, [])
    assert [found.full.accuracy(classes) for classes in SUBTASKS] == pytest.approx(expected)


def test_moda_evaluate(saturated):
    modules, x, y, expected = saturated
    for classes, accuracy in zip(SUBTASKS, expected, strict=True):
        rows = np.isin(y, classes)
        data = SimpleNamespace(
            test_batches=lambda rows=rows: x[rows],
            y_test=np.searchsorted(classes, y[rows]),
            class_names=list("abc"),
        )
        assert _accuracy(modules.model, data, list(classes))[0] == pytest.approx(accuracy)


def test_model_with_an_output_for_the_other_classes():
    """As `moda evaluate` compares the chosen classes, without "other"."""
    model = _with_activation("softmax")
    x, _ = samples(model)
    small = mk.compose(mk.ModuleSet.from_units(model, {}), [3, 1], other=True)
    assert small.predict(x, verbose=0)[:, :2].max(axis=1).min() == 0
    expected = logits_of(model, x)[:, [3, 1]]
    np.testing.assert_allclose(predict_logits(small, x)[:, :2], expected, rtol=1e-4, atol=1e-2)


def test_sigmoid_is_compared_as_it_is():
    """A composed model keeps a sigmoid, of each class by itself: both compare the same values."""
    model = _with_activation("sigmoid")
    x, _ = samples(model)
    np.testing.assert_array_equal(predict_logits(model, x), model.predict(x, verbose=0))
