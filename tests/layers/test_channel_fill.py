import keras
import numpy as np
import pytest

from moda_keras.layers import ChannelFill


def apply(layer, x):
    return keras.ops.convert_to_numpy(layer(np.asarray(x, "float32")))


def test_picks_reorders_and_repeats_channels():
    values = apply(ChannelFill([2, 0, 0]), [[1.0, 2.0, 3.0]])
    np.testing.assert_array_equal(values, [[3.0, 1.0, 1.0]])


def test_fills_constants():
    values = apply(ChannelFill([-1, 1, -1], values=[0.5, 9.0, 0.0]), [[1.0, 2.0]])
    np.testing.assert_array_equal(values, [[0.5, 2.0, 0.0]])


def test_axis_of_channels():
    x = np.arange(8.0).reshape(1, 2, 2, 2)
    values = apply(ChannelFill([1, -1], values=[0.0, 7.0], axis=1), x)
    np.testing.assert_array_equal(values[0, 0], x[0, 1])
    np.testing.assert_array_equal(values[0, 1], np.full((2, 2), 7.0))


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_constants_do_not_depend_on_values_that_are_not_finite(bad):
    values = apply(ChannelFill([-1, 1], values=[0.5, 0.0]), [[bad, 2.0]])
    np.testing.assert_array_equal(values, [[0.5, 2.0]])


@pytest.mark.parametrize("dtype", ["float16", "int32"])
def test_dtype_passes_through(dtype):
    layer = ChannelFill([0, -1], values=[0.0, 2.0])
    values = layer(keras.ops.convert_to_tensor([[1, 2]], dtype=dtype))
    assert keras.backend.standardize_dtype(values.dtype) == dtype


def test_symbolic_shape():
    assert ChannelFill([0, 0, 1], axis=1)(keras.Input((2, 5, 5))).shape == (None, 3, 5, 5)


def test_config_round_trip():
    layer = ChannelFill([1, -1], values=[0.0, 0.1], axis=1, name="fill")
    config = keras.saving.serialize_keras_object(layer)
    assert config["registered_name"] == "moda_keras>ChannelFill"
    copy = keras.saving.deserialize_keras_object(config)
    assert copy.get_config() == layer.get_config()


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="one number per entry"):
        ChannelFill([0, 1], values=[0.0])
