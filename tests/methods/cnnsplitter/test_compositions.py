"""Compositions of candidates against a loop over all of them."""

from itertools import combinations, product

import numpy as np
import pytest

from moda_keras.methods.cnnsplitter.compositions import (
    Candidates,
    best_compositions,
    fitness_of_candidates,
)

CLASSES, POPULATION, SAMPLES = 5, 2, 40
ALL = (1, 10**6)


@pytest.fixture(scope="module")
def candidates():
    random = np.random.default_rng(0)
    y = np.arange(SAMPLES) % CLASSES
    logits = random.integers(0, 6, (CLASSES, POPULATION, SAMPLES)).astype("float32")
    logits += 2 * (y == np.arange(CLASSES)[:, None])[:, None]
    masks = random.random((CLASSES, POPULATION, 9)) < 0.5
    whole = random.normal(size=(SAMPLES, CLASSES)) + 2 * np.eye(CLASSES)[y]
    return Candidates(logits, masks, whole, y)


def looped(candidates, order, members):
    """Accuracy and mean Jaccard distance of one composition; of equal logits the first wins."""
    hits, total = 0, 0
    for sample, label in enumerate(candidates.y):
        if label not in order:
            continue
        own = [float(candidates.logits[c, m, sample]) for c, m in zip(order, members, strict=True)]
        hits += order[own.index(max(own))] == label
        total += 1
    distances = []
    for i, j in combinations(range(len(order)), 2):
        a, b = (set(np.flatnonzero(candidates.masks[order[k], members[k]])) for k in (i, j))
        distances.append(1 - len(a & b) / len(a | b))
    return hits / total, np.mean(distances)


def test_all_compositions_are_those_of_a_loop(candidates):
    order = [3, 0, 4, 1, 2]
    found = best_compositions(candidates, order, kept=ALL, accuracy_loss=1.0, keep_first=False)
    assert sorted(found.classes) == list(range(CLASSES))
    rows = {tuple(row): k for k, row in enumerate(found.members.tolist())}
    assert rows.keys() == set(product(range(POPULATION), repeat=CLASSES))
    for members, k in rows.items():
        accuracy, distance = looped(candidates, list(found.classes), members)
        assert found.accuracy[k] == pytest.approx(accuracy)
        assert found.mean_distance[k] == pytest.approx(distance)
    assert np.ptp(found.accuracy) > 0


def test_fitness_of_a_candidate_is_that_of_its_best_composition(candidates):
    found = best_compositions(
        candidates, range(CLASSES), kept=ALL, accuracy_loss=1.0, keep_first=False
    )
    fitness = np.random.default_rng(0).random(len(found.members))
    values = fitness_of_candidates(found, fitness, CLASSES, POPULATION + 1)
    for label, candidate in product(range(CLASSES), range(POPULATION)):
        column = found.classes.index(label)
        has_it = [members[column] == candidate for members in found.members]
        expected = max(f for f, has in zip(fitness, has_it, strict=True) if has)
        assert values[label, candidate] == expected
    assert (values[:, POPULATION] == 0).all()


def test_most_accurate_partial_compositions_are_kept(candidates):
    found = best_compositions(candidates, [0, 1], kept=(1, 1), accuracy_loss=0.0, keep_first=False)
    accuracies = {
        members: looped(candidates, [0, 1], members)[0] for members in product(range(2), repeat=2)
    }
    assert found.accuracy.tolist() == [max(accuracies.values())]
    assert accuracies[tuple(found.members[0])] == max(accuracies.values())


@pytest.mark.parametrize("loss", [0.0, 0.1, 0.2, 0.4])
def test_those_within_the_loss_of_accuracy_are_kept(candidates, loss):
    order = [2, 3]
    rows = [i for i in range(SAMPLES) if candidates.y[i] in order]
    predicted = [order[candidates.whole[i, order].argmax()] for i in rows]
    bound = np.mean([p == candidates.y[i] for p, i in zip(predicted, rows, strict=True)]) - loss
    accuracies = [looped(candidates, order, members)[0] for members in product(range(2), repeat=2)]
    found = best_compositions(candidates, order, kept=(1, 9), accuracy_loss=loss, keep_first=False)
    expected = [each for each in accuracies if each >= bound] or [max(accuracies)]
    assert sorted(found.accuracy) == pytest.approx(sorted(expected))


def test_composition_of_the_first_candidates_stays_in_any_case(candidates):
    arguments = {"kept": (1, 1), "accuracy_loss": 0.0}
    with_first, without = (
        best_compositions(candidates, range(CLASSES), keep_first=keep, **arguments)
        for keep in (True, False)
    )
    assert [0] * CLASSES in with_first.members.tolist()
    assert [0] * CLASSES not in without.members.tolist()
