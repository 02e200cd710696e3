import collections

import pytest

from moda_keras.evaluation import sample_subtasks


@pytest.mark.parametrize("classes", [2, 3, 5, 10, 37])
def test_sizes_and_classes_are_covered_evenly(classes):
    subtasks = sample_subtasks(range(classes), seed=1)
    assert len(set(subtasks)) == len(subtasks)
    assert all(list(each) == sorted(set(each)) for each in subtasks)
    sizes = collections.Counter(map(len, subtasks))
    assert {2, classes} <= set(sizes)
    assert max(sizes.values()) <= 6
    often = collections.Counter(c for each in subtasks for c in each)
    assert set(often) == set(range(classes))
    assert max(often.values()) - min(often.values()) <= len(sizes) + 1


def test_draw_depends_on_the_seed_alone():
    assert sample_subtasks(range(10), seed=1) == sample_subtasks(range(10), seed=1)
    assert sample_subtasks(range(10), seed=1) != sample_subtasks(range(10), seed=2)


def test_only_the_given_classes():
    assert sample_subtasks([4, 7]) == [(4, 7)]


def test_one_class_cannot_be_told_apart():
    with pytest.raises(ValueError, match="at least two `classes`"):
        sample_subtasks([3])
