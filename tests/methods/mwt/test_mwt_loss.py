"""The loss against equations 4 and 5, written out in loops."""

import itertools

import keras
import numpy as np
import pytest
from differentiation import value_and_gradients

import moda_keras as mk
from moda_keras.methods import mwt

LABELS = [0, 2, 0, 1, 2, 0, 1, 4]  # class 3 is absent, class 4 has one sample
CLASSES = 5


@pytest.fixture(scope="module")
def masks():
    random = np.random.default_rng(0)
    values = [np.maximum(np.tanh(random.normal(0.3, 1, (8, d))), 0) for d in (6, 3)]
    values[1][2] = 0.0  # a sample that needs no kernel
    return [each.astype("float32") for each in values]


def cosine(first, second):
    norms = np.sqrt(np.sum(first**2) * np.sum(second**2))
    return float(np.sum(first * second) / norms) if norms else 0.0


def by_loops(masks, labels, averaging):
    """(cohesion, coupling) of equations 4 and 5, or over pairs; averaged over masks."""
    found = []
    for mask in masks:
        mask = np.asarray(mask, "float64")
        samples = [
            [m for m, label in zip(mask, labels, strict=True) if label == c] for c in range(CLASSES)
        ]
        within = [[cosine(a, b) for a, b in itertools.combinations(own, 2)] for own in samples]
        between = [
            [cosine(a, b) for a in samples[h] for b in samples[i]]
            for h, i in itertools.combinations(range(CLASSES), 2)
        ]
        if averaging == "pair":
            within, between = ([list(itertools.chain(*each))] for each in (within, between))
        cohesion = 1 - np.mean([np.mean(pairs) for pairs in within if pairs])
        coupling = np.mean([np.mean(pairs) for pairs in between if pairs])
        found.append((cohesion, coupling))
    return np.mean(found, axis=0)


@pytest.mark.parametrize("averaging", ["class", "pair"])
def test_objectives_are_those_of_the_equations(masks, averaging):
    loss = mwt.MwTLoss(0.7, 1.9, averaging)
    values = loss.objectives(masks, LABELS, CLASSES)
    expected = by_loops(masks, LABELS, averaging)
    received = [float(values[name]) for name in ("cohesion", "coupling")]
    np.testing.assert_allclose(received, expected, rtol=1e-5)
    total = float(loss(masks, LABELS, CLASSES))
    assert total == pytest.approx(0.7 * expected[0] + 1.9 * expected[1], rel=1e-5)


def test_ways_of_averaging_differ(masks):
    by_class, by_pair = (by_loops(masks, LABELS, each) for each in ("class", "pair"))
    assert np.abs(by_class - by_pair).min() > 1e-3


def test_samples_of_weight_zero_are_in_no_class(masks):
    loss = mwt.MwTLoss()
    weight = np.array([1, 1, 0, 1, 1, 1, 0, 1], "float32")
    kept = np.flatnonzero(weight)
    values = loss.objectives(masks, LABELS, CLASSES, sample_weight=weight)
    expected = by_loops([mask[kept] for mask in masks], np.array(LABELS)[kept], "class")
    np.testing.assert_allclose([float(v) for v in values.values()], expected, rtol=1e-5)


def test_batch_without_pairs_gives_zero(masks):
    values = mwt.MwTLoss().objectives([mask[:1] for mask in masks], [1], CLASSES)
    assert [float(value) for value in values.values()] == [0, 0]


def test_gradient_is_that_of_the_equations(masks):
    def total(arrays):
        return mwt.MwTLoss(0.5, 1.5)(arrays, LABELS, CLASSES)

    _, gradients = value_and_gradients(total, [mask.copy() for mask in masks])
    step = 1e-5
    for index in map(tuple, np.argwhere(masks[0] > 0.05)[::5]):
        changed = []
        for sign in (1, -1):
            moved = [np.array(mask, "float64") for mask in masks]
            moved[0][index] += sign * step
            changed.append(by_loops(moved, LABELS, "class") @ [0.5, 1.5])
        numeric = (changed[0] - changed[1]) / (2 * step)
        assert gradients[0][index] == pytest.approx(numeric, abs=1e-5)


def test_objectives_of_class_statistics_are_the_same(masks):
    loss = mwt.MwTLoss(averaging="pair")
    values = loss.objectives_of(mk.ops.class_statistics(masks[0], LABELS, CLASSES))
    expected = by_loops(masks[:1], LABELS, "pair")
    np.testing.assert_allclose([float(v) for v in values.values()], expected, rtol=1e-5)


def test_weights_depend_on_the_accuracy_only_with_a_warmup():
    recognised, not_recognised = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[0.0, 1], [1, 0]])
    assert mwt.MwTLoss().training_factor([0, 1], not_recognised) == 1.0
    loss = mwt.MwTLoss(warmup="accuracy")
    assert float(loss.training_factor([0, 1], not_recognised)) == 0.0
    assert float(loss.training_factor([0, 1], recognised)) == 1.0
    assert type(loss).from_config(loss.get_config()).warmup == "accuracy"


def test_unknown_warmup_is_refused():
    with pytest.raises(ValueError, match="`warmup` to be one of"):
        mwt.MwTLoss(warmup="epochs")


def test_table_of_the_paper():
    assert mwt.PAPER_WEIGHTS["simcnn", "cifar10"] == (0.5, 3.5)
    assert mwt.PAPER_WEIGHTS["resnet18", "svhn"] == (1.3, 1.5)
    assert len(mwt.PAPER_WEIGHTS) == 8
    networks = {network for network, _ in mwt.PAPER_WEIGHTS}
    assert all(hasattr(mk.zoo, network) for network in networks)
    assert mwt.MwTLoss().weights == {"cohesion": 0.5, "coupling": 1.5}


def test_loss_comes_back_from_its_config():
    loss = mwt.MwTLoss(1.3, 0.2, "pair")
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert type(copy) is mwt.MwTLoss and copy.get_config() == loss.get_config()


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"alpha": -1}, "alpha"),
        ({"beta": float("nan")}, "beta"),
        ({"averaging": "sample"}, "averaging"),
    ],
)
def test_impossible_argument_is_refused(arguments, name):
    with pytest.raises(ValueError, match=rf"Expected `{name}`.*Received"):
        mwt.MwTLoss(**arguments)
