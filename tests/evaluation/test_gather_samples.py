import keras
import numpy as np
import pytest

import moda_keras as mk
from moda_keras.evaluation.gather_samples import gather_samples

MODULES = mk.ModuleSet.from_counts(
    None, {"features": np.ones((3, 2))}, np.ones(3), class_names=["ant", "bee", "cat"]
)
X = np.arange(12.0).reshape(6, 2)
Y = np.array([0, 1, 2, 0, 1, 2])
BATCHES = [slice(4), slice(4, None)]


def test_batches_are_joined_in_their_order():
    x, y = gather_samples(MODULES, ((X[rows], Y[rows]) for rows in BATCHES))
    assert (x == X).all() and (y == Y).all()


def test_tensors_and_one_hot_labels():
    convert = keras.ops.convert_to_tensor
    x, y = gather_samples(MODULES, ((convert(X[r]), convert(np.eye(3)[Y[r]])) for r in BATCHES))
    assert isinstance(x, np.ndarray)
    assert (x == X).all() and (y == Y).all()


def test_class_names():
    _, y = gather_samples(MODULES, ((X[r], np.array(MODULES.class_names)[Y[r]]) for r in BATCHES))
    assert (y == Y).all()


def test_several_inputs():
    x, y = gather_samples(MODULES, (({"a": X[r], "b": X[r, 0]}, Y[r]) for r in BATCHES))
    assert set(x) == {"a", "b"}
    assert (x["a"] == X).all() and (x["b"] == X[:, 0]).all() and (y == Y).all()


def test_samples_of_weight_zero_are_left_out():
    weight = np.array([1, 0, 0.5, 1, 0, 2])
    x, y = gather_samples(MODULES, ((X[r], Y[r], weight[r]) for r in BATCHES))
    assert (x == X[weight > 0]).all() and (y == Y[weight > 0]).all()
    with pytest.raises(ValueError, match="Received: 1 that are negative"):
        gather_samples(MODULES, ((X[r], Y[r], (weight - 0.5)[r]) for r in BATCHES))


def test_steps_end_a_generator_that_goes_on():
    def endless():
        while True:
            yield X, Y

    x, y = gather_samples(MODULES, endless(), steps=2)
    assert len(x) == len(y) == 12


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([iter([(X, Y)]), Y], "labels in the batches of the dataset `x`, and y=None"),
        ([iter([X])], "a batch without labels"),
        ([iter([])], "at least one batch"),
        ([iter([(X, Y), (X[:, :1], Y)])], r"of the shapes \[\(1,\), \(2,\)\]. Pad them"),
        ([iter([(X, Y + 1)])], "labels from 0 to 2"),
        ([X], "labels in `y`"),
    ],
)
def test_wrong_data(data, message):
    with pytest.raises(ValueError, match=message):
        gather_samples(MODULES, *data)
