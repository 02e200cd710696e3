import itertools
import math

import pytest

from moda_keras.experiments import draw_subtasks, sample_size, subtasks_of


def test_every_subset_of_two_or_more_of_ten_classes():
    subtasks = subtasks_of(10)
    expected = {s for k in range(2, 11) for s in itertools.combinations(range(10), k)}
    assert len(subtasks) == 1013
    assert set(subtasks) == expected


def test_a_hundred_classes_give_the_papers_number_of_subtasks():
    subtasks = subtasks_of(100)
    assert len(subtasks) == 14_697
    assert len(set(subtasks)) == 14_697
    assert all(list(s) == sorted(set(s)) and s[0] >= 0 and s[-1] < 100 for s in subtasks)
    of_size = {k: sum(len(s) == k for s in subtasks) for k in range(2, 101)}
    assert of_size[2] == 146 and of_size[50] == 151 and of_size[99] == 61 and of_size[100] == 1


def test_sample_is_the_same_for_the_same_seed():
    assert subtasks_of(11, seed=3) == subtasks_of(11, seed=3)
    assert subtasks_of(11, seed=3) != subtasks_of(11, seed=4)


@pytest.mark.parametrize("population", [1, 2, 55, 4950, math.comb(100, 50)])
def test_sample_is_no_larger_than_its_population(population):
    assert 1 <= sample_size(population) <= population


def test_drawn_subtasks_keep_their_order():
    subtasks = subtasks_of(6)
    drawn = draw_subtasks(subtasks, 7, seed=1)
    assert len(drawn) == 7 and drawn == sorted(drawn, key=subtasks.index)
    assert draw_subtasks(subtasks, 1000) == subtasks


@pytest.mark.parametrize("arguments", [{"confidence": 0.5}, {"margin": 0.0}, {"margin": 1.5}])
def test_impossible_sample_is_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        sample_size(100, **arguments)


def test_one_class_has_no_subtask():
    with pytest.raises(ValueError, match="at least 2 classes"):
        subtasks_of(1)
