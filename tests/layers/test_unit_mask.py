import keras
import numpy as np

from moda_keras.layers import UnitMask


def test_multiplies_units_by_zero_or_one():
    values = UnitMask([True, False, True])(np.array([[1.0, 2.0, 3.0]], "float32"))
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(values), [[1.0, 0.0, 3.0]])


def test_axis_of_units():
    x = np.arange(1.0, 9.0, dtype="float32").reshape(1, 2, 2, 2)
    values = keras.ops.convert_to_numpy(UnitMask([False, True], axis=1)(x))
    np.testing.assert_array_equal(values[0], [np.zeros((2, 2)), x[0, 1]])


def test_dtype_passes_through():
    values = UnitMask([True, False])(keras.ops.ones((1, 2), dtype="float16"))
    assert keras.backend.standardize_dtype(values.dtype) == "float16"


def test_config_round_trip():
    layer = UnitMask(np.array([True, False]), axis=1, name="mask")
    config = keras.saving.serialize_keras_object(layer)
    assert config["registered_name"] == "moda_keras>UnitMask"
    assert keras.saving.deserialize_keras_object(config).get_config() == layer.get_config()
