"""Clusters of units: their patterns, their number, their numbering."""

import sys

import looped_cnn
import numpy as np
import pytest
from small_models import cnn, inputs_of

from moda_keras.graph import trace
from moda_keras.methods.incite.unit_clusters import cluster_units, unit_behaviour


def test_behaviour_is_the_mean_magnitude_of_each_sample():
    model = cnn()
    x = inputs_of(model, 9)
    found = unit_behaviour(trace(model), x, batch_size=4, seed=0)
    expected, _ = looped_cnn.run(model, x)
    for values, name in zip(found, looped_cnn.NAMES, strict=True):
        for unit in range(len(values)):
            for sample in range(9):
                mean = np.abs(expected[name][sample, ..., unit]).mean()
                assert values[unit, sample] == pytest.approx(mean, rel=1e-4, abs=1e-5)


def test_units_that_differ_by_a_factor_are_alike():
    pytest.importorskip("sklearn")
    patterns = np.eye(3)[[1, 1, 0, 2, 0, 2, 2]]
    scales = np.array([1.0, 100, 1, 50, 100, 1, 1])
    found = cluster_units(patterns * scales[:, np.newaxis], cluster_size=3)
    assert found.tolist() == [0, 0, 1, 2, 1, 2, 2]


def test_units_that_are_never_active_are_clustered_too():
    pytest.importorskip("sklearn")
    found = cluster_units(np.array([[0.0, 0.0], [0.0, 2.0], [0.0, 0.0], [0.0, 1.0]]), 2)
    assert found.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(("size", "number"), [(1, 7), (2, 4), (3, 3), (7, 1), (50, 1)])
def test_number_of_clusters(size, number):
    pytest.importorskip("sklearn")
    found = cluster_units(np.random.default_rng(0).random((7, 5)), size)
    assert np.unique(found).tolist() == list(range(number))
    first = [np.flatnonzero(found == cluster)[0] for cluster in range(number)]
    assert first == sorted(first)


def test_missing_clustering_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    with pytest.raises(ImportError, match=r"moda-keras\[methods\].*cluster_size=1"):
        cluster_units(np.random.default_rng(0).random((4, 5)), 2)
    assert cluster_units(np.ones((2, 5)), 1).tolist() == [0, 1]
