"""Layers that are called several times are sliced in one way for all calls, or kept whole."""

import keras
import numpy as np
import pytest
from keras import layers
from masking import check_slicing, randomize

from moda_keras.slicing import Slicer


def siamese(head):
    encoder = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.Conv2D(6, 3, activation="relu", name="conv"),
            layers.BatchNormalization(name="norm"),
            layers.Conv2D(8, 3, activation="relu", name="features"),
            layers.GlobalAveragePooling2D(),
        ]
    )
    left, right = keras.Input((6, 6, 2)), keras.Input((6, 6, 2))
    x = head([encoder(left), encoder(right)])
    return randomize(keras.Model([left, right], layers.Dense(4, name="logits")(x)))


HEADS = {
    "concatenated": layers.Concatenate,
    "subtracted": layers.Subtract,
    "multiplied": layers.Multiply,
}


@pytest.mark.parametrize("name", HEADS)
def test_shared_encoder_with_a_mask_for_every_call(name):
    check_slicing(siamese(HEADS[name]()), fraction=0.5)


def test_calls_with_equal_masks_are_sliced():
    first, second = np.arange(6) < 3, np.arange(8) < 5
    units = {"conv": first, "conv_1": first, "features": second, "features_1": second}
    sliced = check_slicing(siamese(layers.Subtract()), units)
    kernels = {w.path.split("/")[-2]: tuple(w.shape) for w in sliced.weights if w.name == "kernel"}
    assert kernels == {"conv": (3, 3, 2, 3), "features": (3, 3, 3, 5), "logits": (5, 3)}


def test_calls_with_different_masks_share_the_union():
    units = {"conv": np.arange(6) < 3, "conv_1": np.isin(np.arange(6), [2, 3])}
    model = siamese(layers.Subtract())
    plan = Slicer(model).plan(units, np.arange(4))
    kept = {id(w.variable): w for w in plan.kept_weights}
    conv = next(layer for layer in model._flatten_layers() if layer.name == "conv")
    assert kept[id(conv.kernel)].indices[-1].tolist() == [0, 1, 2, 3]
    check_slicing(model, units)


def test_layer_that_reads_its_own_output():
    inputs = keras.Input((6, 6, 3))
    conv = layers.Conv2D(6, 3, padding="same", activation="relu", name="conv")
    x = conv(conv(conv(layers.Conv2D(6, 3, padding="same", name="first")(inputs))))
    model = randomize(keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling2D()(x))))
    some = np.isin(np.arange(6), [1, 4])
    check_slicing(model, {"conv": some, "conv_1": some, "conv_2": some})
    check_slicing(model, {"conv": some, "conv_1": ~some, "conv_2": np.arange(6) < 1})


def test_calls_that_fold_different_constants_keep_the_layer_whole():
    inputs = keras.Input((5,))
    x = layers.Dense(6, activation="relu", name="units")(inputs)
    dense = layers.Dense(7, activation="relu", name="shared")
    branches = [dense(layers.BatchNormalization()(x)), dense(layers.BatchNormalization()(x))]
    model = randomize(keras.Model(inputs, layers.Dense(4)(layers.Add()(branches))))
    units = {"units": np.arange(6) < 2}
    plan = Slicer(model).plan(units, np.arange(4))
    assert plan.kept_whole == ["shared"]
    check_slicing(model, units)


def test_shared_layer_without_weights_is_copied_for_every_call():
    inputs = keras.Input((5,))
    relu = layers.ReLU(name="relu")
    x = relu(layers.Dense(6)(relu(layers.Dense(7)(inputs))))
    model = randomize(keras.Model(inputs, layers.Dense(4)(x)))
    units = {"relu": np.arange(7) < 3, "relu_1": np.arange(6) < 2}
    sliced = check_slicing(model, units)
    assert [w.shape[-1] for w in sliced.weights if w.name == "kernel"] == [3, 2, 3]


def test_shared_layers_align():
    units = {"conv": np.arange(6) < 3, "conv_1": np.isin(np.arange(6), [2, 5])}
    check_slicing(siamese(layers.Concatenate()), units, align=4)
