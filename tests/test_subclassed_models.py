"""Public functions that take a model take a subclassed one, or say why they do not."""

import keras
import numpy as np
import pytest
from keras import layers
from masking import count, randomize

import moda_keras as mk


class Net(keras.Model):
    def __init__(self, classes=3, activation="softmax"):
        super().__init__()
        self.hidden = layers.Dense(6, activation="relu")
        self.head = layers.Dense(classes, activation=activation)

    def call(self, x):
        return self.head(self.hidden(x))


X = np.random.default_rng(0).normal(size=(30, 4)).astype("float32")
Y = np.arange(30) % 3


def net(*settings):
    model = Net(*settings)
    model(X[:1])
    return randomize(model)


@pytest.fixture(scope="module")
def pair():
    """A subclassed model, and the functional one with its weights."""
    model = net()
    return model, mk.to_functional(model)


def accuracies(model):
    return [mk.metrics.full_accuracy(model, classes, X, Y) for classes in ([0, 1], [2, 0, 1])]


def importance(model):
    modules = mk.decompose(model, X, Y, criterion="importance", verbose=0)
    return [table.tolist() for table in modules.importance.values()]


SAME = {
    "full_accuracy": accuracies,
    "count_parameters": mk.metrics.count_parameters,
    "count_flops": mk.metrics.count_flops,
    "flops_by_layer": mk.metrics.flops_by_layer,
    "find_hidden_activations": lambda model: str(mk.find_hidden_activations(model)),
    "explain": lambda model: str(mk.explain(model)),
    "decompose": importance,
    "slice_model": lambda model: count(mk.slicing.slice_model(model, {}, [1])),
    "side_by_side": lambda model: mk.side_by_side([model, model]).predict(X, verbose=0).tolist(),
}


@pytest.mark.parametrize("name", SAME)
def test_result_is_that_of_the_functional_model(name, pair):
    subclassed, functional = pair
    assert SAME[name](subclassed) == SAME[name](functional)


def test_latency_is_measured(pair):
    assert mk.metrics.measure_latency(pair[0], runs=2) > 0


def test_measured_models_may_be_subclassed(pair):
    modules = mk.decompose(pair[0], X, Y, verbose=0)
    measurement = mk.metrics.ModelMeasurement(modules, [2, 0], X, Y, batch_size=None)
    other = net(2)
    figures = measurement.measure(other)
    assert figures == measurement.measure(mk.to_functional(other))
    found = mk.metrics.reuse_accuracy(modules, [2, 0], X, Y, composed=other)
    assert figures["accuracy"] == pytest.approx(found)
    with pytest.raises(ValueError, match=r"model of 2 outputs.*Received: output shape \(None, 3\)"):
        measurement.measure(net(3))


def test_replaced_class(pair):
    modules = mk.decompose(net(), X, Y, verbose=0)
    assert mk.replace(pair[0], modules[1], target_class=1).predict(X, verbose=0).shape == (30, 3)


def test_binary_model():
    assert mk.two_class_model(net(1, "sigmoid")).output_shape == (None, 2)
    with pytest.raises(ValueError, match="two_class_model"):
        mk.metrics.full_accuracy(net(1, "sigmoid"), [0], X, Y)


@pytest.mark.parametrize("name", SAME)
def test_model_that_was_never_called_is_refused(name):
    with pytest.raises(ValueError, match=r"(?i)expected a built model"):
        SAME[name](Net())
