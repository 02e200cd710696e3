import pytest

from moda_keras.ops.native.descriptors import Array, describe


def only_row(shape, strides, axis):
    (row,) = describe([Array(64, strides)], "float32", shape, axis, False)
    return row


def test_matrix_has_one_position():
    assert only_row((4, 3), (3, 1), 1) == (64, 0, 0, 4, 3, 1, 3, (1, 1, 1), (0, 0, 0))


def test_positions_that_follow_each_other_fold_into_one_axis():
    row = only_row((2, 5, 7, 3), (105, 21, 3, 1), 3)
    assert row[4:] == (3, 1, 105, (1, 1, 35), (0, 0, 3))


def test_channels_first_positions_fold_too():
    row = only_row((2, 3, 5, 7), (105, 35, 7, 1), 1)
    assert row[4:] == (3, 35, 105, (1, 1, 35), (0, 0, 1))


def test_positions_of_a_window_stay_apart():
    row = only_row((2, 5, 7, 3), (1000, 100, 3, 1), 3)
    assert row[7:] == ((1, 5, 7), (0, 100, 3))


def test_positions_fold_only_where_all_arrays_do():
    arrays = [Array(64, (1000, 100, 3, 1)), Array(128, (105, 21, 3, 1))]
    activation, gradient = describe(arrays, "float32", (2, 5, 7, 3), 3, False)
    assert activation[7:] == ((1, 5, 7), (0, 100, 3))
    assert gradient[7:] == ((1, 5, 7), (0, 21, 3))


@pytest.mark.parametrize("shape", [(0, 3), (2, 0, 3), (2, 0)])
def test_empty_array_has_no_description(shape):
    assert describe([Array(64, (1,) * len(shape))], "float32", shape, len(shape) - 1, False) is None


def test_four_axes_of_positions_apart_have_no_description():
    shape, strides = (2, 2, 2, 2, 2, 3), (900, 400, 150, 50, 10, 1)
    assert describe([Array(64, strides)], "float32", shape, 5, False) is None
