import keras
import numpy as np
import pytest
from keras import layers
from labelled_data import labelled_inputs
from masking import randomize
from tuning_oracle import all_subtasks, every_threshold, losses

import moda_keras as mk
from moda_keras.tuning.reuse_loss import FIRST_SAMPLES, ReuseLoss


@pytest.fixture(scope="module")
def sets(modules):
    return [modules.with_threshold(threshold) for threshold in every_threshold(modules)]


@pytest.fixture(scope="module")
def expected(sets, data):
    """Losses by threshold and sub-task."""
    return np.array([losses(each, all_subtasks(), *data) for each in sets])


@pytest.fixture(scope="module", params=["mean", "worst"])
def statistic(request):
    return request.param


@pytest.fixture(scope="module")
def loss(modules, data, statistic):
    return ReuseLoss(modules, *data, all_subtasks(), statistic=statistic)


def one_figure(values, statistic):
    return values.mean(axis=-1) if statistic == "mean" else values.max(axis=-1)


def test_accuracy_is_that_of_the_masked_models(loss, sets, expected):
    found = loss.full_accuracy - loss.accuracy(sets)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert np.ptp(expected) > 0.1


def test_what_is_given_up_is_over_the_limit(loss, sets, expected, statistic):
    figures = one_figure(expected, statistic)
    for limit in [*figures, *(figures - 1e-3), 0.0, 1.0]:
        within = figures <= limit + 1e-9
        found = loss.within(sets, limit)
        np.testing.assert_allclose(found, np.where(within, figures, np.inf), atol=1e-9)
        first = int(np.argmax(within)) if within.any() else None
        assert loss.first_within(sets, limit) == first


def test_hopeless_modules_are_given_up_after_the_first_samples():
    """Of 640 samples, those modules are shown 64."""
    model, x, y = _pass_through()
    units = {"features": np.array([[0, 4], [0, 4]]), "rest": np.full((2, 1), 4)}
    modules = mk.ModuleSet.from_counts(model, units, np.array([4, 4]))
    loss = ReuseLoss(modules, x, y, [(0, 1)])
    shown = []
    count = loss._counter.count_correct
    loss._counter.count_correct = lambda subtasks, x, y, **rest: (
        shown.append(len(y)),
        count(subtasks, x, y, **rest),
    )[1]
    blind, whole = modules.with_threshold(0.5), modules.with_threshold(0.0)
    assert loss.first_within([blind, blind], 0.04) is None
    assert shown == [FIRST_SAMPLES]
    assert loss.first_within([blind, whole], 0.04) == 1
    assert sum(shown[1:]) == len(y) == 640


def _pass_through():
    """Unit 0 tells the classes apart."""
    inputs = keras.Input((1,))
    x = layers.Dense(2, activation="relu", name="features")(inputs)
    x = layers.Dense(1, activation="relu", name="rest")(x)
    model = keras.Model(inputs, layers.Dense(2)(x))
    weights = ([[1.0, 0.0]], [0, 1]), ([[1.0], [0.0]], [0]), ([[-1.0, 1.0]], [0.5, 0])
    for layer, values in zip(model.layers[1:], weights, strict=True):
        layer.set_weights([np.array(value, "float32") for value in values])
    y = np.arange(640) % 2
    return model, y[:, None].astype("float32"), y


def test_model_that_cannot_be_cut_is_composed():
    inputs = keras.Input((4, 3))
    x = layers.SimpleRNN(4, name="rnn")(inputs)
    model = randomize(keras.Model(inputs, layers.Dense(3)(x)))
    x, y = labelled_inputs(model)
    modules = mk.decompose(model, x, y, epsilon=0.3, verbose=0)
    subtasks = [(0, 2), (0, 1, 2)]
    sets = [modules.with_threshold(threshold) for threshold in (0.0, 0.7, 1.0)]
    loss = ReuseLoss(modules, x, y, subtasks)
    found = loss.accuracy(sets)
    for each, row in zip(sets, found, strict=True):
        for subtask, accuracy in zip(subtasks, row, strict=True):
            rows = np.isin(y, subtask)
            scores = mk.masked_model(each, list(subtask)).predict(x[rows], verbose=0)
            expected = np.mean(np.array(subtask)[scores.argmax(axis=1)] == y[rows])
            assert accuracy == pytest.approx(expected)
    worst = (loss.full_accuracy - found).mean(axis=1)
    assert loss.first_within(sets[::-1], worst[1]) == int(np.argmax(worst[::-1] <= worst[1] + 1e-9))


def test_several_inputs():
    left, right = keras.Input((2,), name="left"), keras.Input((3,), name="right")
    x = layers.Concatenate()([left, right])
    x = layers.Dense(6, activation="relu", name="first")(x)
    model = randomize(keras.Model([left, right], layers.Dense(3)(x)))
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(30, 2)).astype("float32"), rng.normal(size=(30, 3)).astype("float32")]
    y = np.arange(30) % 3
    modules = mk.decompose(model, x, y, threshold=0.6, verbose=0)
    found = ReuseLoss(modules, x, y, [(0, 1, 2)]).accuracy([modules])
    scores = mk.masked_model(modules, [0, 1, 2]).predict(x, verbose=0)
    assert found == pytest.approx(np.mean(scores.argmax(axis=1) == y))
    assert found.shape == (1, 1)
