import keras
import numpy as np
import pytest

from moda_keras import ops

pytestmark = pytest.mark.usefixtures("implementation")
ACTIVE = [[1.0, 0.0, 2.0], [0.0, 0.0, 3.0], [4.0, 0.0, 0.0]]


def counts_of(ids, classes=2, epsilons=(0.0,)):
    activations = [keras.ops.convert_to_tensor(np.array(ACTIVE, "float32"))]
    (counts,), _ = ops.activation_counts(activations, ids, classes, [1], list(epsilons))
    return keras.ops.convert_to_numpy(counts).tolist()


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64"])
def test_ids_of_any_integer_type_are_read_as_their_values(dtype):
    assert counts_of(np.array([0, 1, 1], dtype)) == [[1, 0, 1], [1, 0, 1]]


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX has no int64 unless told")
def test_id_that_does_not_fit_into_32_bits_is_of_no_class():
    assert counts_of(np.array([2**32, 1, -5])) == [[0, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize("labels", [1, 32, 1000])
def test_other_number_of_ids_than_samples_is_refused(labels):
    with pytest.raises(ValueError, match=f"one label for each sample.*{labels} labels for 3"):
        counts_of(np.zeros(labels, "int32"))


def test_ids_of_two_axes_are_refused():
    with pytest.raises(ValueError, match=r"class indices of shape \(batch,\)"):
        counts_of(np.zeros((3, 1), "int32"))


@pytest.mark.parametrize("epsilons", [(-1.0,), (float("nan"),), (0.0, 0.0), ()])
def test_epsilons_that_do_not_fit_are_refused(epsilons):
    with pytest.raises(ValueError, match="one number >= 0 for each of the 1 activations"):
        counts_of(np.zeros(3, "int32"), epsilons=epsilons)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("epsilon", [0.1, 0.3, 0.7, 1e-3])
def test_epsilon_is_not_rounded_to_the_type_of_the_activations(dtype, epsilon):
    values = [[0.98 * epsilon, epsilon, 1.02 * epsilon]]
    activations = keras.ops.cast(keras.ops.convert_to_tensor(values, dtype="float32"), dtype)
    exact = keras.ops.convert_to_numpy(keras.ops.cast(activations, "float32"))[0].tolist()
    (counts,), _ = ops.activation_counts([activations], np.zeros(1, "int32"), 1, [1], [epsilon])
    assert keras.ops.convert_to_numpy(counts).tolist() == [[int(x > epsilon) for x in exact]]
