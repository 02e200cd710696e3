from fractions import Fraction

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers
from small_models import cnn, inputs_of, mlp, random_modules, trainable_parameters

import moda_keras as mk
from moda_keras.modules.selection import MINIMUM_FRACTION

NAMES = ["ant", "bee", "cat"]


@pytest.fixture(scope="module")
def model():
    return mlp()


@pytest.fixture(scope="module")
def data(model):
    return inputs_of(model, 30), np.arange(30) % 3


@pytest.fixture(scope="module")
def modules(model, data):
    return mk.decompose(model, *data, class_names=NAMES, verbose=0, batch_size=10)


# ------------------------------------------------------------------------- the membership rule


def membership(counts, samples, threshold):
    """DESIGN.md, section 2, with loops and exact fractions."""
    classes, units = len(counts), len(counts[0])
    threshold = Fraction(threshold)
    members = [
        {i for i in range(units) if n and Fraction(int(row[i]), int(n)) >= threshold}
        for row, n in zip(counts, samples, strict=True)
    ]
    largest = max(len(module) for module in members)
    minimum = max(1, units * 5 // 1000)
    for c in range(classes):
        if samples[c] and len(members[c]) < minimum:
            ranked = sorted(range(units), key=lambda i: (-counts[c][i], i))
            members[c] = set(ranked[: max(largest, minimum)])
    return [[i in module for i in range(units)] for module in members]


def from_counts(counts, samples, threshold):
    """Units of a module set whose model is never looked at."""
    modules = mk.ModuleSet.from_counts(None, {"a": counts}, samples, threshold=threshold)
    return modules.units["a"].tolist()


@settings(max_examples=150, deadline=None)
@given(
    units=st.sampled_from([1, 2, 5, 199, 200, 399, 400, 601]),
    samples=st.lists(st.integers(0, 10), min_size=1, max_size=4),
    threshold=st.sampled_from(["0", "0.1", "0.3", "0.5", "0.7", "0.9", "1"]),
    density=st.sampled_from([0.0, 0.01, 0.3, 0.9]),
    seed=st.integers(0, 2**16),
)
def test_membership(units, samples, threshold, density, seed):
    rng = np.random.default_rng(seed)
    samples = np.array(samples)
    shares = rng.random((len(samples), units)) * (rng.random((len(samples), units)) < density)
    # About as many ties as sizes: shares of few samples are often equal, and often all.
    counts = np.minimum(np.ceil(shares * (samples[:, None] + 1)), samples[:, None]).astype(int)
    expected = membership(counts, samples, threshold)
    assert from_counts(counts, samples, float(threshold)) == expected


def test_frequency_that_equals_the_threshold_is_enough():
    counts = np.array([[9, 8, 10, 0]])
    assert from_counts(counts, [10], 0.9) == [[True, False, True, False]]


def test_small_module_is_filled_up_to_the_largest_with_ties_to_the_lowest_index():
    counts = np.array([[10, 10, 10, 0, 0], [2, 5, 1, 5, 2]])
    expected = [[True, True, True, False, False], [True, True, False, True, False]]
    assert from_counts(counts, [10, 10], 0.9) == expected


def test_small_module_is_filled_up_to_half_a_percent_where_all_are_small():
    counts = np.zeros((2, 600), int)
    counts[0, 500] = counts[0, 400] = 10
    units = np.array(from_counts(counts, [10, 10], 0.9))
    assert np.flatnonzero(units[0]).tolist() == [0, 400, 500]
    assert np.flatnonzero(units[1]).tolist() == [0, 1, 2]


def test_module_of_half_a_percent_is_not_small():
    counts = np.zeros((2, 600), int)
    counts[0, 3:6] = counts[1, 100:200] = 10
    units = np.array(from_counts(counts, [10, 10], 0.9))
    assert np.flatnonzero(units[0]).tolist() == [3, 4, 5]


def test_half_a_percent_is_exact_for_every_width():
    assert all(int(MINIMUM_FRACTION * d) == d * 5 // 1000 for d in range(20_000))


def test_class_without_samples_gets_no_unit():
    counts = np.array([[10, 0], [0, 0]])
    assert from_counts(counts, [10, 0], 0.0) == [[True, True], [False, False]]


# ----------------------------------------------------------------------------------- threshold


def test_other_threshold_is_what_a_fresh_decomposition_gives(modules, model, data):
    fresh = mk.decompose(model, *data, class_names=NAMES, threshold=0.4, verbose=0, batch_size=10)
    changed = modules.with_threshold(0.4)
    assert (changed.threshold, changed.class_names) == (0.4, tuple(NAMES))
    assert any((changed.units[n] != modules.units[n]).any() for n in modules.units)
    for name, units in fresh.units.items():
        np.testing.assert_array_equal(changed.units[name], units)


def test_all_classes_at_threshold_zero_are_the_original(modules, model, data):
    whole = mk.compose(modules.with_threshold(0), NAMES)
    np.testing.assert_allclose(
        whole.predict(data[0], verbose=0), model.predict(data[0], verbose=0), rtol=1e-5, atol=1e-5
    )
    assert trainable_parameters(whole) == trainable_parameters(model)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, "0.8", None, float("nan")])
def test_threshold_outside_its_range(modules, threshold):
    with pytest.raises(ValueError, match=r"`threshold` in \[0, 1\]"):
        modules.with_threshold(threshold)


def test_threshold_for_each_activation(modules, model, data):
    thresholds = {"second": 0.9, "first": 0.2}
    changed = modules.with_threshold(thresholds)
    assert changed.threshold == thresholds
    for name, threshold in thresholds.items():
        expected = modules.with_threshold(threshold).units[name]
        np.testing.assert_array_equal(changed.units[name], expected)
    fresh = mk.decompose(model, *data, threshold=thresholds, verbose=0, batch_size=10)
    assert all((fresh.units[name] == changed.units[name]).all() for name in thresholds)


@pytest.mark.parametrize(
    ("threshold", "message"),
    [
        ({"first": 0.5}, r"without \['second'\]"),
        ({"first": 0.5, "second": 0.5, "third": 0.5}, r"unknown names \['third'\]"),
        ({"first": 0.5, "second": 2}, r"`threshold\['second'\]` in \[0, 1\]"),
    ],
)
def test_impossible_thresholds_for_each_activation(modules, threshold, message):
    with pytest.raises(ValueError, match=message):
        modules.with_threshold(threshold)


def test_threshold_in_few_characters(modules):
    assert repr(modules.with_threshold(0.9)).endswith("threshold=0.9>")
    each = modules.with_threshold({"first": 1 / 3, "second": 0.9})
    assert each.threshold_label == "0.3333-0.9"
    assert repr(each).endswith("threshold=0.3333-0.9>")
    assert random_modules(modules.model).threshold_label == "none"


# ---------------------------------------------------------------------------------- from_units


def test_from_units_needs_no_frequencies(model):
    units = {"first": np.eye(3, 6, dtype=bool), "second": np.ones((3, 5), bool)}
    modules = mk.ModuleSet.from_units(model, units, class_names=NAMES)
    np.testing.assert_array_equal(modules["bee"].units["first"], units["first"][1])
    assert modules.threshold is None
    assert modules.classes_with_modules().tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="with_threshold"):
        modules.with_threshold(0.5)
    with pytest.raises(ValueError, match="frequency"):
        _ = modules.frequency


def test_activation_left_out_keeps_its_units(model):
    modules = mk.ModuleSet.from_units(model, {"second": np.eye(3, 5, dtype=bool)})
    assert modules.units["first"].all()
    assert list(modules.units) == ["first", "second"]
    assert modules.class_names == ("0", "1", "2")


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ({"third": np.ones((3, 5), bool)}, "third"),
        ({"logits": np.ones((3, 3), bool)}, "logits"),
        ({"first": np.ones((3, 5), bool)}, r"\(3, 6\)"),
        ({"first": np.ones((6,), bool)}, r"\(3, 6\)"),
        ({"first": np.ones((3, 6))}, "float64"),
        ({"first": np.ones((3, 6), int)}, "bool"),
    ],
)
def test_impossible_units(model, units, message):
    with pytest.raises(ValueError, match=message):
        mk.ModuleSet.from_units(model, units)


@pytest.mark.parametrize("names", [["a"], ["a", "a", "b"]])
def test_impossible_class_names(model, names):
    with pytest.raises(ValueError, match="3 distinct names"):
        mk.ModuleSet.from_units(model, {}, class_names=names)


def test_model_that_cannot_be_decomposed():
    inputs = keras.Input((4,))
    two = keras.Model(inputs, [layers.Dense(3)(inputs), layers.Dense(2)(inputs)])
    with pytest.raises(ValueError, match="2 outputs"):
        mk.ModuleSet.from_units(two, {})
    with pytest.raises(ValueError, match="not built yet"):
        mk.ModuleSet.from_units(keras.Sequential([layers.Dense(3)]), {})


# ------------------------------------------------------------------------------------ indexing


@pytest.mark.parametrize("key", [1, "bee", np.int64(1), np.uint8(1)])
def test_module_by_index_or_name(modules, key):
    module = modules[key]
    assert (module.class_index, module.class_name) == (1, "bee")
    for name, units in module.units.items():
        np.testing.assert_array_equal(units, modules.units[name][1])


@pytest.mark.parametrize("key", [3, -1, np.int64(7)])
def test_index_out_of_range(modules, key):
    with pytest.raises(IndexError, match="from 0 to 2"):
        modules[key]


@pytest.mark.parametrize("key", ["cow", True, np.bool_(False), 1.0, None, slice(1)])
def test_key_that_is_no_class(modules, key):
    with pytest.raises(ValueError, match="Unknown class"):
        modules[key]


def test_name_wins_over_a_number_written_alike(model):
    modules = mk.ModuleSet.from_units(model, {}, class_names=["2", "1", "0"])
    assert modules["2"].class_index == 0
    assert modules[2].class_index == 2


def test_iteration_goes_over_all_classes_and_ends(modules):
    assert len(modules) == 3
    assert [module.class_name for module in modules] == NAMES
    assert [module.class_index for module in list(modules)] == [0, 1, 2]


def test_representations(modules):
    kept = sum(int(units[2].sum()) for units in modules.units.values())
    assert repr(modules) == "<ModuleSet of 'mlp': 3 classes, 2 activations, threshold=0.9>"
    assert repr(modules[2]) == f"<Module of class 2 ('cat'): {kept}/11 units>"


# ------------------------------------------------------------------------------------- classes


def test_classes_keep_their_order(modules):
    assert modules.resolve_classes(["cat", 0, np.int32(1)]).tolist() == [2, 0, 1]
    assert modules.resolve_classes(np.array([2, 0])).tolist() == [2, 0]
    assert modules.resolve_classes(c for c in (1, 2)).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["cow"], "cow"),
        ([3], "from 0 to 2"),
        ([-1], "from 0 to 2"),
        ([True], "Unknown class"),
        ([0, 0], "Duplicate class"),
        (["bee", 1], "Duplicate class"),
        ([], "at least one class"),
        ("bee", "list of class indices"),
        (1, "list of class indices"),
        (np.int64(1), "list of class indices"),
        (None, "list of class indices"),
    ],
)
def test_impossible_classes(modules, classes, message):
    with pytest.raises(ValueError, match=message):
        modules.resolve_classes(classes)


def test_union(modules):
    union = modules.union([2, "ant"])
    for name, units in modules.units.items():
        expected = [units[0][i] or units[2][i] for i in range(units.shape[1])]
        assert union[name].tolist() == expected


# ------------------------------------------------------------------------------------- modules


def test_module_as_a_model_and_its_size():
    model = cnn()
    modules = random_modules(model)
    module = modules[2]
    small = module.to_model(name="cat_or_not")
    assert small.name == "cat_or_not"
    assert small.output_shape == (None, 1)
    assert module.size == trainable_parameters(small) / trainable_parameters(model)
    assert 0 < module.size < 1
    x = inputs_of(model, 3)
    expected = mk.masked_model(modules, [2]).predict(x, verbose=0)
    np.testing.assert_allclose(small.predict(x, verbose=0), expected, rtol=1e-4, atol=1e-5)
