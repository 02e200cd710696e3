"""The genetic step: who stays, what changes, and where random numbers come from."""

import random
import sys

import numpy as np
import pytest

from moda_keras.methods.cnnsplitter.breeding import breed

POPULATION, GENES = 20, 40


@pytest.fixture
def population():
    pytest.importorskip("pygad")
    return np.random.default_rng(0).integers(0, 2, (POPULATION, GENES)).astype("uint8")


def test_fittest_fifth_stays_with_the_best_first(population):
    fitness = np.random.default_rng(1).random(POPULATION)
    best = int(fitness.argmin())  # it counts as the fittest, whatever its fitness
    order = [best, *(i for i in np.argsort(-fitness) if i != best)]
    found = breed(population, fitness, best, seed=3)
    assert found.shape == population.shape and found.dtype == np.uint8
    assert (found[:4] == population[order[:4]]).all()


def test_children_are_of_the_fitter_half_but_for_five_percent_of_genes(population):
    fitness = np.arange(float(POPULATION))
    found = breed(population, fitness, POPULATION - 1, seed=3)
    parents = population[POPULATION // 2 :]
    for child in found[4:]:
        distances = [
            (np.append(a[:cut], b[cut:]) != child).sum()
            for a in parents
            for b in parents
            for cut in range(GENES + 1)
        ]
        assert min(distances) <= 0.05 * GENES


def test_equal_fitness_leaves_the_best_in_front(population):
    found = breed(population, np.zeros(POPULATION), 7, seed=0)
    assert (found[0] == population[7]).all()


def test_same_seed_gives_the_same_children_and_global_numbers_are_left(population):
    before = np.random.get_state()[1].copy(), random.getstate()
    fitness = np.arange(float(POPULATION))
    first, second, other = (breed(population, fitness, 0, seed) for seed in (5, 5, 6))
    assert (first == second).all() and (first != other).any()
    assert (np.random.get_state()[1] == before[0]).all() and random.getstate() == before[1]


@pytest.mark.parametrize(("number", "genes"), [(2, 1), (2, 5), (3, 1), (5, 2)])
def test_small_populations_breed(number, genes):
    pytest.importorskip("pygad")
    population = np.ones((number, genes), "uint8")
    assert breed(population, np.arange(float(number)), 0, seed=0).shape == (number, genes)


def test_missing_pygad_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pygad", None)
    with pytest.raises(ImportError, match=r"moda-keras\[methods\]"):
        breed(np.ones((2, 2)), np.ones(2), 0, seed=0)
