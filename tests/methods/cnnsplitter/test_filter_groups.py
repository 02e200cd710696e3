"""Importance of filters, their groups, layer sensitivity and the first population."""

import looped_cnn
import numpy as np
import pytest
from small_models import cnn, inputs_of

from moda_keras.methods.cnnsplitter.filter_groups import FilterGroups
from moda_keras.methods.cnnsplitter.filter_importance import confident_samples, filter_importance
from moda_keras.methods.cnnsplitter.first_population import first_population
from moda_keras.methods.cnnsplitter.layer_sensitivity import accuracy_drops
from moda_keras.methods.magnitude import Magnitude
from moda_keras.methods.masked_outputs import MaskedOutputs

SAMPLES = 16


@pytest.fixture(scope="module")
def problem():
    model = cnn()
    x = inputs_of(model, SAMPLES)
    _, logits = looped_cnn.run(model, x)
    y = logits.argmax(axis=1)
    y[:4] = np.arange(4)  # some samples are misclassified, and every class has one
    return Magnitude().check(model, x, y, batch_size=5)


def confident(logits, y):
    """A loop: the softmax of the own class is 0.9 at least; of a class without any, all."""
    chosen = []
    for label in range(logits.shape[1]):
        own = [i for i in range(len(y)) if y[i] == label]
        probabilities = [np.exp(logits[i, label]) / np.exp(logits[i]).sum() for i in own]
        sure = [i for i, p in zip(own, probabilities, strict=True) if p >= 0.9]
        chosen += sure or own
    return sorted(chosen)


def test_confident_samples_are_those_of_a_loop():
    random = np.random.default_rng(0)
    logits, y = random.normal(0, 4, (40, 4)), random.integers(0, 4, 40)
    logits[y == 2] /= 100  # no confident sample
    found = confident_samples(logits, y)
    assert found.tolist() == confident(logits, y)
    assert (y == 2).sum() == (y[found] == 2).sum() and len(found) < 40


def test_huge_logits_are_no_trouble():
    logits, y = np.array([[2000.0, 0.0], [2000.0, 0.0]]), np.array([0, 1])
    assert confident_samples(logits, y).tolist() == [0, 1]


def test_importance_is_that_of_loops(problem):
    _, logits = looped_cnn.run(problem.model, problem.x)
    logits = 2 * logits  # some are confident
    rows = confident(logits, problem.y)
    assert 0 < len(rows) < SAMPLES
    expected = looped_cnn.mean_magnitudes(problem.model, problem.x[rows], problem.y[rows], 4)
    found = filter_importance(problem, logits)
    for values, name in zip(found, looped_cnn.MAPS, strict=True):
        np.testing.assert_allclose(values, expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dropped", [0.0, 0.3, 0.6])
def test_drop_of_accuracy_is_that_of_loops(problem, dropped):
    importance = [np.random.default_rng(0).random((4, units)) for units in (5, 4)]
    outputs = MaskedOutputs(problem.slicer, looped_cnn.MAPS)
    found = accuracy_drops(problem, outputs, importance, dropped, accuracy=0.8)
    for layer, name in enumerate(looped_cnn.MAPS):
        own = np.zeros((SAMPLES, 4))
        for label in range(4):
            values = importance[layer][label]
            kept = sorted(range(len(values)), key=lambda i, values=values: -values[i])
            kept = kept[: int(np.ceil(round((1 - dropped) * len(values), 6)))]
            mask = np.isin(np.arange(len(values)), kept)
            own[:, label] = looped_cnn.run(problem.model, problem.x, {name: mask})[1][:, label]
        hits = [own[i].argmax() == problem.y[i] for i in range(SAMPLES)]
        assert found[layer] == pytest.approx(0.8 - np.mean(hits))


def test_groups_follow_the_importance_for_each_class(problem):
    random = np.random.default_rng(0)
    importance = [random.random((4, units)) for units in (5, 4)]
    groups = FilterGroups(problem.maps, importance, groups=2)
    assert groups.sizes == [2, 2] and groups.genes == 4
    chromosomes = np.array([[1, 0, 0, 1], [0, 1, 1, 1]])
    for label in range(4):
        masks = groups.masks(chromosomes, label)
        first, second = (
            sorted(range(table.shape[1]), key=lambda i, row=table[label]: -row[i])
            for table in importance
        )
        assert np.flatnonzero(masks["relu1"][0]).tolist() == sorted(first[:3])
        assert np.flatnonzero(masks["relu1"][1]).tolist() == sorted(first[3:])
        assert np.flatnonzero(masks["conv2"][0]).tolist() == sorted(second[2:])
        assert masks["conv2"][1].all()


def test_layer_without_genes_keeps_its_most_important_group(problem):
    importance = [np.arange(20.0).reshape(4, 5), np.arange(16.0).reshape(4, 4)]
    masks = FilterGroups(problem.maps, importance, groups=2).masks(np.zeros((1, 4), int), 0)
    assert masks["relu1"].tolist() == [[False, False, True, True, True]]
    assert masks["conv2"].tolist() == [[False, False, True, True]]


def test_default_number_of_groups_is_the_authors():
    class Map:
        def __init__(self, units):
            self.name, self.units = f"of{units}", units

    maps = [Map(units) for units in (4, 16, 255, 256)]
    importance = [np.ones((2, each.units)) for each in maps]
    assert FilterGroups(maps, importance, None).sizes == [4, 10, 10, 100]


def test_first_population_has_the_shares_of_the_layers():
    drawn = first_population(60, [10, 10], [True, False], np.random.default_rng(0))
    assert drawn.dtype == np.uint8 and set(np.unique(drawn)) == {0, 1}
    sensitive, other = drawn[:, :10], drawn[:, 10:]
    assert set(sensitive.sum(axis=1)) == {6, 7, 8}
    assert set(other.sum(axis=1)) == {4, 5, 6, 7}
    assert other[:, :3].sum() > other[:, -3:].sum()  # important groups are likelier


def test_every_layer_starts_with_a_gene():
    drawn = first_population(5, [1, 2], [False, False], np.random.default_rng(0))
    assert (drawn[:, 0] == 1).all() and (drawn[:, 1:].sum(axis=1) == 1).all()
