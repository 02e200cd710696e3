"""Sizes count the parameters of frozen and quantized layers too, and no states."""

import keras
import numpy as np
import pytest
from keras import layers

import moda_keras as mk
from moda_keras.slicing.parameters import count_parameters, parameters_of


def model(freeze=None):
    inputs = keras.Input((6, 6, 3))
    normalization = layers.Normalization(name="adapted")  # has its figures as weights
    normalization.adapt(np.random.default_rng(0).normal(size=(8, 6, 6, 3)))
    x = normalization(inputs)
    x = layers.Conv2D(8, 3, activation="relu", name="conv")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Dropout(0.2)(layers.Flatten()(x))
    x = layers.Dense(16, activation="relu", name="dense")(x)
    made = keras.Model(inputs, layers.Dense(4, name="logits")(x))
    if freeze == "all":
        made.trainable = False
    elif freeze:
        for name in freeze:
            made.get_layer(name).trainable = False
    return made


EXPECTED = (3 * 3 * 3 + 1) * 8 + 2 * 8 + (4 * 4 * 8 + 1) * 16 + (16 + 1) * 4


@pytest.mark.parametrize("freeze", [None, ("conv", "norm"), "all"])
def test_frozen_layers_count(freeze):
    made = model(freeze)
    assert count_parameters(made) == mk.metrics.count_parameters(made) == EXPECTED
    names = {weight.name for weight in parameters_of(made)}
    assert names == {"kernel", "bias", "gamma", "beta"}


@pytest.mark.parametrize("freeze", [("conv", "norm", "dense"), "all"])
def test_sizes_and_budgets_do_not_depend_on_what_is_frozen(freeze):
    x = np.random.default_rng(0).normal(size=(40, 6, 6, 3)).astype("float32")
    y = np.arange(40) % 4
    found = []
    for each in (None, freeze):
        keras.utils.set_random_seed(0)
        modules = mk.decompose(model(each), x, y, criterion="importance", verbose=0)
        chosen = modules.within(parameters=0.3, classes=[0, 2])
        small = chosen.compose([0, 2])
        assert count_parameters(small) <= 0.3 * EXPECTED
        found.append((modules[1].size, mk.metrics.composed_size(chosen, [0, 2])))
    assert found[0] == pytest.approx(found[1])


def test_quantized_kernels_count():
    made = model()
    before = count_parameters(made)
    made.get_layer("dense").quantize("int8")
    assert count_parameters(made) == before + 16  # a scale for each unit
