import keras
import numpy as np
import pytest

from moda_keras import ops

BACKEND = keras.backend.backend()


def ids(*args, **kwargs):
    tensor = ops.class_ids(*args, **kwargs)
    assert keras.backend.standardize_dtype(tensor.dtype) == "int32"
    return keras.ops.convert_to_numpy(tensor).tolist()


def compiled(function):
    """`function` as it runs inside a compiled training step."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.function(function)
    if BACKEND == "jax":
        import jax

        return jax.jit(function)
    return function


@pytest.mark.parametrize(
    "dtype",
    ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32"],
)
def test_sparse_labels_of_any_dtype(dtype):
    labels = np.array([2, 0, 1], dtype=dtype)
    assert ids(labels, 3) == [2, 0, 1]
    assert ids(labels[:, None], 3) == [2, 0, 1]
    if dtype != "uint64":  # PyTorch has no such tensors
        assert ids(keras.ops.convert_to_tensor(labels), 3) == [2, 0, 1]


def test_large_label_of_64_bits_without_sign_is_out_of_range():
    labels = np.array([0, 2**32 + 1, 2**64 - 1], "uint64")
    with pytest.raises(ValueError, match="Expected labels from 0 to 2"):
        ops.class_ids(labels, 3)
    assert keras.ops.convert_to_numpy(ops.unchecked_class_ids(labels, 3)).tolist() == [0, 3, 3]


@pytest.mark.parametrize("dtype", ["bool", "uint8", "float16", "float32"])
def test_one_hot_labels_of_any_dtype(dtype):
    assert ids(np.eye(3)[[2, 0, 1]].astype(dtype), 3) == [2, 0, 1]


def test_soft_labels_count_for_their_largest_class():
    assert ids([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]], 3) == [1, 2]


def test_column_of_labels_of_two_classes_is_sparse_and_a_pair_of_columns_is_one_hot():
    assert ids([[1], [0]], 2) == [1, 0]
    assert ids([[1, 0], [0, 1]], 2) == [0, 1]


def test_sample_of_weight_zero_belongs_to_no_class():
    assert ids([0, 1, 1], 2, sample_weight=[0.0, 0.5, 0.0]) == [2, 1, 2]
    assert ids([0, 1, 1], 2, sample_weight=np.array([[0.0], [0.5], [3.0]])) == [2, 1, 1]
    assert ids(np.eye(2), 2, sample_weight=np.array([0, 1])) == [2, 1]


def test_empty_batch():
    assert ids(np.zeros((0,), "int32"), 3) == []


@pytest.mark.parametrize(
    ("labels", "received"),
    [([0, 3], "from 0 to 3"), ([-1, 0], "from -1 to 0"), ([[0], [7]], "from 0 to 7")],
)
def test_label_out_of_range_is_named(labels, received):
    with pytest.raises(ValueError, match=f"labels from 0 to 2, .*Received: labels {received}"):
        ops.class_ids(labels, 3)


def test_fractional_label_is_named():
    with pytest.raises(ValueError, match=r"Expected integer labels. Received: labels=\[0\. +0\.5"):
        ops.class_ids([0.0, 0.5], 3)


@pytest.mark.parametrize("shape", [(4, 2), (4, 5), (4, 3, 1), ()])
def test_labels_of_wrong_shape_are_named(shape):
    with pytest.raises(ValueError, match=r"one-hot labels of shape \(batch, 3\). Received: labels"):
        ops.class_ids(np.zeros(shape, "int32"), 3)


@pytest.mark.parametrize("shape", [(3, 2), (3, 1, 1), ()])
def test_weights_of_wrong_shape_are_named(shape):
    with pytest.raises(ValueError, match=r"`sample_weight` of shape \(batch,\).*Received"):
        ops.class_ids([0, 1, 1], 2, sample_weight=np.ones(shape))


@pytest.mark.parametrize("count", [1, 2, 4])
def test_wrong_number_of_weights_is_named(count):
    with pytest.raises(
        ValueError, match=rf"one `sample_weight`.*Received: {count} weights for 3 labels"
    ):
        ops.class_ids([0, 1, 1], 2, sample_weight=np.ones(count))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int64", "float32"])
@pytest.mark.parametrize("classes", [3, 1000])
def test_labels_in_a_compiled_function(dtype, classes):
    labels = keras.ops.convert_to_tensor(np.array([2, 0, 1], dtype=dtype))
    result = compiled(lambda y: ops.class_ids(y, classes))(labels)
    assert keras.ops.convert_to_numpy(result).tolist() == [2, 0, 1]


@pytest.mark.skipif(BACKEND == "jax", reason="a compiled JAX function cannot raise")
def test_label_out_of_range_in_a_compiled_function_is_named():
    labels = keras.ops.convert_to_tensor([0, 3])
    with pytest.raises(Exception, match="labels from 0 to 2"):
        compiled(lambda y: ops.class_ids(y, 3))(labels)


@pytest.mark.skipif(BACKEND != "jax", reason="the others raise")
def test_label_out_of_range_in_a_compiled_function_belongs_to_no_class():
    labels = keras.ops.convert_to_tensor([0, 3, -1])
    assert compiled(lambda y: ops.class_ids(y, 3))(labels).tolist() == [0, 3, 3]


@pytest.mark.parametrize(
    "rows",
    [
        [[1, 1, 0], [0, 1, 0]],  # several labels
        [[0, 0, 0], [0, 1, 0]],  # none
        [[0.2, 0.3, 4.0], [1.0, 0.0, 0.0]],  # regression targets
        [[2.0, -1.0, 0.0], [1.0, 0.0, 0.0]],
        [[np.nan, 1.0, 0.0], [1.0, 0.0, 0.0]],
    ],
)
def test_rows_that_are_not_one_hot_are_refused(rows):
    with pytest.raises(ValueError, match=r"rows of numbers >= 0 that sum to 1.*Received: 1 of 2"):
        ops.check_labels(np.array(rows), 3)


BAD_WEIGHTS = {"negative": -1.0, "nan": np.nan, "infinite": np.inf}
TAKES_WEIGHTS = {
    "class_ids": lambda y, w: ops.class_ids(y, 2, w),
    "class_memberships": lambda y, w: ops.class_memberships(np.eye(2)[y], 2, w),
    "class_statistics": lambda y, w: ops.class_statistics(np.ones((3, 4)), y, 2, sample_weight=w),
    "class_similarity": lambda y, w: ops.class_similarity(np.ones((3, 4)), y, 2, sample_weight=w),
    "activation_frequency": lambda y, w: ops.activation_frequency(
        np.ones((3, 4)), y, 2, sample_weight=w
    ),
}


@pytest.mark.parametrize("bad", BAD_WEIGHTS)
@pytest.mark.parametrize("name", TAKES_WEIGHTS)
def test_weight_that_is_none_is_refused(name, bad):
    labels, weights = np.array([0, 1, 1]), np.array([0.0, BAD_WEIGHTS[bad], 2.0], "float32")
    for given in (weights, keras.ops.convert_to_tensor(weights)):
        with pytest.raises(ValueError, match=r"finite numbers >= 0. Received: 1 that are negative"):
            TAKES_WEIGHTS[name](labels, given)
    TAKES_WEIGHTS[name](labels, np.abs(np.nan_to_num(weights, posinf=3.0)))


def test_weights_in_half_precision_and_integers():
    half = keras.ops.cast([0.0, 1.0, -1.0], "bfloat16")
    with pytest.raises(ValueError, match="Received: 1 that are negative"):
        ops.class_ids([0, 1, 1], 2, half)
    with pytest.raises(ValueError, match="Received: 3 that are negative"):
        ops.class_ids([0, 1, 1], 2, np.array([-1, -2, -3]))
    assert ids([0, 1, 1], 2, np.array([True, False, True])) == [0, 2, 1]
