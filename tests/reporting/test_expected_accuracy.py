from itertools import combinations

import keras
import numpy as np
import pytest
from keras import layers
from labelled_data import labelled_inputs
from masking import randomize
from small_models import cnn, mlp, random_modules

import moda_keras as mk
from moda_keras.evaluation import full_accuracy, reuse_accuracy
from moda_keras.reporting import expected_accuracy as module_under_test
from moda_keras.reporting.expected_accuracy import expect_accuracy
from moda_keras.reporting.outcomes import Outcomes

CLASSES = 4


@pytest.fixture(scope="module")
def measured():
    """Modules with data and what is expected of them; the rows are all of three classes."""
    modules = random_modules(cnn(classes=CLASSES), seed=2)
    x, y = labelled_inputs(modules.model, samples=60)
    rows = [
        {"classes": subtask, "accuracy": reuse_accuracy(modules, subtask, x, y)}
        for subtask in [(0, 1), (0, 1, 2), (0, 1, 3), (0, 2, 3), (1, 2, 3), (0, 1, 2, 3)]
    ]
    return modules, x, y, rows, expect_accuracy(modules, x, y, rows)


def test_full_model_on_any_subtask(measured):
    modules, x, y, _, expected = measured
    for k in (2, 3, 4):
        for subtask in combinations(range(CLASSES), k):
            found = expected.full.accuracy(subtask)
            assert found == pytest.approx(full_accuracy(modules.model, subtask, x, y))


def test_pairs_and_all_classes_are_exact(measured):
    modules, x, y, _, expected = measured
    for subtask in [*combinations(range(CLASSES), 2), tuple(range(CLASSES))]:
        found = expected.estimate(subtask)
        assert found == pytest.approx(reuse_accuracy(modules, subtask, x, y))


def test_errors_are_those_of_compositions_that_are_estimated(measured):
    modules, x, y, _, expected = measured
    errors = [
        abs(expected.estimate(subtask) - reuse_accuracy(modules, subtask, x, y))
        for subtask in combinations(range(CLASSES), 3)
    ]
    assert sorted(expected.errors) == pytest.approx(sorted(errors))


def test_estimate_lies_between_pairs_and_all(measured):
    *_, expected = measured
    subtask = (0, 2, 3)
    ends = expected.pairs.accuracy(subtask), expected.together.accuracy(subtask)
    way = np.log(3 / 2) / np.log(4 / 2)
    assert expected.estimate(subtask) == pytest.approx((1 - way) * ends[0] + way * ends[1])


def test_accuracy_by_class(measured):
    modules, x, y, _, expected = measured
    predicted = modules.model.predict(x, verbose=0).argmax(axis=1)
    before = [(predicted[y == c] == c).mean() for c in range(CLASSES)]
    assert expected.full.accuracy_by_class(CLASSES) == pytest.approx(before)
    composed = mk.compose(modules, range(CLASSES)).predict(x, verbose=0).argmax(axis=1)
    after = [(composed[y == c] == c).mean() for c in range(CLASSES)]
    assert expected.together.accuracy_by_class(CLASSES) == pytest.approx(after)


def test_accuracy_in_pairs(measured):
    modules, x, y, _, expected = measured
    own, means = 1, []
    for other in (0, 2, 3):
        pair = sorted((own, other))
        chosen = mk.compose(modules, pair).predict(x[y == own], verbose=0).argmax(axis=1)
        means.append((chosen == pair.index(own)).mean())
    found = expected.pairs.accuracy_in_pairs(range(CLASSES), CLASSES)
    assert found[own] == pytest.approx(np.mean(means))


def test_model_that_cannot_be_cut_is_composed():
    inputs = keras.Input((4, 3))
    x = layers.SimpleRNN(8)(inputs)
    model = randomize(keras.Model(inputs, layers.Dense(3)(x)))
    modules = random_modules(model, seed=1)
    assert mk.metrics.why_not_staged(modules)
    x, y = labelled_inputs(model)
    expected = expect_accuracy(modules, x, y, [])
    assert expected.pairs is None
    assert expected.estimate((0, 1, 2)) == pytest.approx(reuse_accuracy(modules, (0, 1, 2), x, y))


def test_many_classes_have_no_pairs(monkeypatch):
    monkeypatch.setattr(module_under_test, "PAIRED_CLASSES", 2)
    modules = random_modules(mlp())
    x, y = labelled_inputs(modules.model)
    expected = expect_accuracy(modules, x, y, [])
    assert expected.pairs is None
    assert expected.estimate((0, 1)) == expected.together.accuracy((0, 1))


def test_class_without_a_module_is_in_no_composition():
    counts = {"first": np.tile([4, 0, 3, 4, 1, 4], (3, 1)), "second": np.eye(3, 5, dtype=int) * 4}
    modules = mk.ModuleSet.from_counts(mlp(), counts, [4, 0, 4])
    x, y = labelled_inputs(modules.model)
    expected = expect_accuracy(modules, x, y, [])
    assert expected.classes == (0, 2)
    assert expected.estimate((0, 2)) == pytest.approx(reuse_accuracy(modules, (0, 2), x, y))
    assert np.isnan(expected.together.accuracy_by_class(3)[1])


def test_no_samples_of_the_classes():
    outcomes = Outcomes.from_table(np.array([0, 0]), np.array([[False, True], [False, False]]))
    assert outcomes.accuracy([0]) == 1
    assert outcomes.accuracy([0, 1]) == 0.5
    assert np.isnan(outcomes.accuracy([1]))
