import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import mlp, random_modules

import moda_keras as mk
from moda_keras.tuning.thresholds import distinct_thresholds, nested_thresholds


@st.composite
def counted_modules(draw):
    """Modules of two activations, some so seldom active that they are refilled."""
    samples = draw(st.lists(st.integers(0, 8), min_size=1, max_size=4).filter(any))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    widths = draw(st.lists(st.sampled_from([1, 3, 7, 450]), min_size=1, max_size=2))
    density = draw(st.sampled_from([0.005, 0.1, 0.5, 1.0]))
    counts = {}
    for index, width in enumerate(widths):
        active = rng.random((len(samples), width)) < density
        counts[f"a{index}"] = np.array([rng.integers(0, n + 1, width) for n in samples]) * active
    return mk.ModuleSet.from_counts(None, counts, np.array(samples))


def same_units(first, second):
    return all((first.units[name] == second.units[name]).all() for name in first.units)


@settings(max_examples=80, deadline=None)
@given(counted_modules(), st.floats(0, 1))
def test_any_threshold_gives_the_modules_of_a_distinct_one(modules, threshold):
    distinct = distinct_thresholds(modules)
    assert (np.diff(distinct) > 0).all()
    assert distinct[-1] <= 1
    equal = distinct[np.searchsorted(distinct, threshold)]
    assert same_units(modules.with_threshold(threshold), modules.with_threshold(equal))


@settings(max_examples=80, deadline=None)
@given(counted_modules())
def test_modules_are_nested_within_a_range(modules):
    ranges = list(nested_thresholds(modules))
    assert sorted(np.concatenate(ranges).tolist()) == distinct_thresholds(modules).tolist()
    for thresholds in ranges:
        sets = [modules.with_threshold(float(threshold)) for threshold in thresholds]
        for smaller, larger in itertools.pairwise(sets):
            assert smaller.threshold > larger.threshold
            for name, units in smaller.units.items():
                assert (units <= larger.units[name]).all()


def test_a_refilled_module_begins_a_range():
    """Class 1 has one unit up to 0.5, and above it as many as class 0 has: two."""
    counts = {"a": np.array([[8, 8, 2, 0], [4, 1, 0, 0]])}
    modules = mk.ModuleSet.from_counts(None, counts, np.array([8, 8]))
    ranges = [each.tolist() for each in nested_thresholds(modules)]
    assert ranges == [[0.5, 0.25, 0.125, 0.0], [1.0]]
    sizes = [int(modules.with_threshold(t).units["a"].sum()) for t in (0.5, 1.0)]
    assert sizes == [3, 4]


def test_class_without_samples_has_no_say():
    counts = {"a": np.array([[4, 2], [0, 0]])}
    modules = mk.ModuleSet.from_counts(None, counts, np.array([4, 0]))
    assert distinct_thresholds(modules).tolist() == [0.5, 1.0]


def test_modules_of_units_alone_have_none():
    with pytest.raises(ValueError, match="needs the frequencies"):
        distinct_thresholds(random_modules(mlp()))
