import functools
import resource
import time

import keras
import numpy as np
import oracles
import pytest
from differentiation import compiled, value_and_gradients
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from searches import more_cases, search

from moda_keras import ops

pytestmark = pytest.mark.usefixtures("implementation")

# Few shapes, for JAX compiles once for each; the contents are searched.
CASES = [
    # shape of the activations, axis of the units, classes, whether labels are one-hot
    ((1, 3), -1, 2, False),
    ((12, 9), 1, 6, True),
    ((6, 4, 2, 3), 1, 3, False),
    ((3, 2, 1, 2, 5), -1, 4, False),
    # attention heads: (batch, time, heads, size); maps at every time, channels first
    ((5, 2, 4, 3), 2, 3, False),
    ((4, 2, 3, 2, 2), 2, 3, False),
    *((*shapes, *axes, *rest) for shapes, axes, *rest in more_cases(30, samples=16, units=12)),
]
SEARCH = search(50)
# Zero is a frequent value, as after a ReLU.
ELEMENTS = st.one_of(st.just(0.0), st.floats(0.125, 4, width=32), st.floats(-4, -0.125, width=32))


@st.composite
def batches(draw):
    shape, axis, classes, one_hot = draw(st.sampled_from(CASES))
    activations = draw(hnp.arrays("float32", shape, elements=ELEMENTS))
    activations[draw(hnp.arrays(bool, shape[0]))] *= draw(st.sampled_from([0.0, 1.0]))
    labels = draw(hnp.arrays("int32", shape[0], elements=st.integers(0, classes - 1)))
    given_labels = np.eye(classes, dtype="float32")[labels] if one_hot else labels
    weight = draw(hnp.arrays("float32", shape[0], elements=st.sampled_from([0.0, 0.5, 2.0])))
    weight = draw(st.sampled_from([np.ones_like(weight), weight]))
    return activations, labels, given_labels, classes, axis, weight


@functools.cache
def operation(function, classes, **options):
    def of_batch(activations, labels, weight):
        return function(activations, labels, classes, sample_weight=weight, **options)

    return compiled(of_batch)


def to_numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def dtype_of(tensor):
    return keras.backend.standardize_dtype(tensor.dtype)


def assert_close(actual, expected, rtol=1e-5, atol=1e-6):
    np.testing.assert_allclose(to_numpy(actual), expected, rtol=rtol, atol=atol)


@SEARCH
@given(batch=batches())
def test_class_statistics_are_those_of_loops(batch):
    activations, labels, given_labels, classes, axis, weight = batch

    statistics = operation(ops.class_statistics, classes, axis=axis)(
        activations, given_labels, weight
    )

    expected = oracles.class_statistics(
        activations, labels, classes, sample_weight=weight, axis=axis
    )
    for name, value in expected.items():
        assert_close(getattr(statistics, name), value)


@SEARCH
@given(batch=batches())
def test_class_similarity_is_the_mean_over_distinct_pairs(batch):
    activations, labels, given_labels, classes, axis, weight = batch
    similarity = operation(ops.class_similarity, classes, axis=axis)(
        activations, given_labels, weight
    )
    expected = oracles.class_similarity(
        activations, labels, classes, sample_weight=weight, axis=axis
    )
    assert_close(similarity, expected)


@SEARCH
@given(batch=batches(), epsilon=st.sampled_from([0.0, 1.0]))
def test_activation_frequency_counts_samples_with_any_active_position(batch, epsilon):
    activations, labels, given_labels, classes, axis, weight = batch
    counts = operation(ops.activation_frequency, classes, axis=axis, epsilon=epsilon)(
        activations, given_labels, weight
    )
    expected = oracles.activation_frequency(
        activations, labels, classes, sample_weight=weight, axis=axis, epsilon=epsilon
    )
    assert dtype_of(counts) == "int32"
    np.testing.assert_array_equal(to_numpy(counts), expected)


@SEARCH
@given(batch=batches())
def test_non_negative_changes_nothing_where_it_is_true(batch):
    activations, _, labels, classes, axis, weight = batch
    plain, promised = (
        operation(ops.class_statistics, classes, axis=axis, **promise)(
            np.abs(activations), labels, weight
        )
        for promise in ({}, {"non_negative": True})
    )
    for name in plain._fields:
        assert_close(getattr(promised, name), to_numpy(getattr(plain, name)), atol=1e-7)


@pytest.mark.parametrize("shape", [(4, 3), (4, 2, 2, 3)])
def test_non_negative_has_the_same_gradient_where_activations_are_positive(shape):
    activations = np.random.default_rng(0).uniform(0.1, 2, shape).astype("float32")
    direction = keras.ops.convert_to_tensor(
        np.random.default_rng(1).normal(size=(2, 3)).astype("float32")
    )

    def project(non_negative):
        def function(tensors):
            statistics = ops.class_statistics(
                tensors[0], [0, 1, 1, 0], 2, non_negative=non_negative
            )
            total = keras.ops.sum(statistics.sums * direction)
            return total + keras.ops.sum(statistics.l1 * direction[:, 0])

        return value_and_gradients(function, [activations])[1][0]

    assert np.abs(project(True)).max() > 0
    np.testing.assert_allclose(project(True), project(False), rtol=1e-5, atol=1e-6)


def test_statistics_add_up_over_shards_of_the_batch():
    rng = np.random.default_rng(0)
    activations = rng.normal(size=(12, 5)).astype("float32")
    labels = rng.integers(0, 3, 12)
    statistics = compiled(lambda x, y: ops.class_statistics(x, y, 3))

    whole = statistics(activations, labels)
    shards = [statistics(activations[i : i + 4], labels[i : i + 4]) for i in (0, 4, 8)]

    for name in whole._fields:
        total = sum(to_numpy(getattr(shard, name)) for shard in shards)
        assert_close(getattr(whole, name), total)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_activations_give_float32_statistics(dtype):
    # Half precision could not count: 2,049 is 2,048 in float16, and 257 is 256 in bfloat16.
    activations = keras.ops.ones((2100, 4), dtype=dtype) * 0.5
    statistics = ops.class_statistics(activations, np.zeros(2100, "int32"), 2)
    for name, value in [("counts", 2100), ("nonzero", 2100), ("l1", 4200), ("sums", 1050)]:
        tensor = getattr(statistics, name)
        assert dtype_of(tensor) == "float32"
        assert_close(tensor[0], np.full(tensor[0].shape, value), rtol=1e-4)


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX has no float64 unless told")
def test_float64_activations_keep_their_precision():
    activations = np.random.default_rng(0).normal(size=(7, 3, 4))
    labels = [0, 0, 1, 2, 2, 2, 0]
    statistics = ops.class_statistics(keras.ops.convert_to_tensor(activations), labels, 3)
    for name, value in oracles.class_statistics(activations, labels, 3).items():
        assert dtype_of(getattr(statistics, name)) == "float64"
        assert_close(getattr(statistics, name), value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("magnitude", [1e30, 1e-30])
def test_huge_and_tiny_activations_are_normalized(magnitude):
    activations = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")
    labels = [0, 0, 1, 1, 1, 2]
    scaled = activations * np.float32(magnitude)

    def total(tensors):
        return keras.ops.sum(ops.class_statistics(tensors[0], labels, 3).sums)

    similarity = compiled(lambda x: ops.class_similarity(x, labels, 3))(scaled)
    _, (gradient,) = value_and_gradients(total, [scaled])
    _, (unscaled,) = value_and_gradients(total, [activations])

    assert_close(similarity, oracles.class_similarity(activations, labels, 3))
    np.testing.assert_allclose(gradient * np.float32(magnitude), unscaled, rtol=1e-4, atol=1e-5)


def test_nan_passes_through_to_its_class_only():
    activations = np.ones((3, 2), dtype="float32")
    activations[0, 1] = np.nan
    statistics = ops.class_statistics(activations, [0, 0, 1], 2)
    assert np.isnan(to_numpy(statistics.sums)[0]).any()
    assert np.isnan(to_numpy(statistics.l1)).tolist() == [True, False]
    assert np.isfinite(to_numpy(statistics.sums)[1]).all()


@pytest.mark.parametrize("position", [(0, 0), (1, 0), (2, 1)])
def test_peak_of_a_unit_with_a_nan_is_nan(position):
    activations = np.ones((1, 3, 2, 4), dtype="float32")
    activations[(0, *position, 2)] = np.nan
    peaks = to_numpy(ops.unit_peaks(activations))
    assert np.isnan(peaks).tolist() == [[False, False, True, False]]


def test_gradient_of_the_magnitude_is_zero_at_zero():
    activations = np.array([[0.0, 2.0, -3.0], [0.0, 0.0, 0.0]], dtype="float32")
    _, (gradient,) = value_and_gradients(
        lambda tensors: keras.ops.sum(ops.unit_magnitudes(tensors[0])), [activations]
    )
    np.testing.assert_array_equal(gradient, [[0, 1, -1], [0, 0, 0]])


def test_gradient_reaches_every_position_of_a_map_by_its_sign():
    activations = np.array([[[0.0], [2.0], [-3.0], [1.0]]], dtype="float32")
    _, (gradient,) = value_and_gradients(
        lambda tensors: keras.ops.sum(ops.unit_magnitudes(tensors[0])), [activations]
    )
    np.testing.assert_allclose(gradient[0, :, 0], [0, 0.25, -0.25, 0.25])


@pytest.mark.parametrize("non_negative", [False, True])
def test_all_zero_vector_stays_zero_with_zero_gradient(non_negative):
    activations = np.array([[0.0, 0.0], [3.0, 4.0]], dtype="float32")

    def total(tensors):
        statistics = ops.class_statistics(tensors[0], [0, 1], 2, non_negative=non_negative)
        return keras.ops.sum(statistics.sums * keras.ops.convert_to_tensor([[1.0, 2.0]]))

    value, (gradient,) = value_and_gradients(total, [activations])
    assert value == pytest.approx(0.6 + 2 * 0.8)
    assert gradient[0].tolist() == [0, 0]
    np.testing.assert_allclose(gradient[1], [-0.064, 0.048], rtol=1e-4)


def test_thousand_classes_with_few_samples():
    activations = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 0.0]], dtype="float32")
    similarity = compiled(lambda x: ops.class_similarity(x, [999, 999, 0, 17], 1000))(activations)
    similarity = to_numpy(similarity)

    expected = np.zeros((1000, 1000))
    expected[999, 999] = 0.5**0.5
    expected[999, 0] = expected[0, 999] = 0.5**0.5 / 2
    np.testing.assert_allclose(similarity, expected, rtol=1e-5, atol=1e-6)


def test_class_of_one_sample_has_no_similarity_with_itself():
    similarity = to_numpy(ops.class_similarity([[1.0, 2.0], [3.0, 4.0]], [0, 1], 2))
    assert np.diag(similarity).tolist() == [0, 0]
    assert similarity[0, 1] > 0.9


def test_no_array_of_all_pairs_is_formed():
    samples = 20_000
    activations = np.random.default_rng(0).normal(size=(samples, 8)).astype("float32")
    labels = np.arange(samples) % 10
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()

    value_and_gradients(
        lambda tensors: keras.ops.sum(ops.class_similarity(tensors[0], labels, 10)), [activations]
    )

    # One float for every pair would be 1.6 GB.
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert kibibytes < 400_000
    assert time.perf_counter() - started < 20


@pytest.mark.parametrize(
    ("activations", "axis"),
    [(np.ones(3, "float32"), -1), (np.ones((3, 2), "float32"), 0), (np.ones((3, 2)), 2)],
)
@pytest.mark.parametrize(
    "operation", [ops.class_statistics, ops.class_similarity, ops.activation_frequency]
)
def test_wrong_shape_or_axis_of_activations_is_named(operation, activations, axis):
    with pytest.raises(ValueError, match=r"\(batch, units\).*Received.*shape \(3,.*axis="):
        operation(activations, [0, 1, 1], 2, axis=axis)


@pytest.mark.parametrize(
    "operation", [ops.class_statistics, ops.class_similarity, ops.activation_frequency]
)
def test_wrong_number_of_labels_is_named(operation):
    with pytest.raises(ValueError, match=r"one label for each.*Received: 2 labels for 3 samples"):
        operation(np.ones((3, 4), "float32"), [0, 1], 2)
