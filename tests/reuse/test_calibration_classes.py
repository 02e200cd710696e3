"""Calibration data of other classes works, but disappoints: a warning says so."""

import warnings

import keras
import numpy as np
import pytest

import moda_keras as mk

CENTERS = np.eye(4, dtype="float32") * 4


@pytest.fixture(scope="module")
def modules():
    """The class is the largest of four inputs."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(8, activation="relu", name="hidden")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(4, name="logits")(hidden))
    model.get_layer("hidden").set_weights([np.tile(np.eye(4), 2), np.zeros(8)])
    model.get_layer("logits").set_weights([np.tile(np.eye(4), (2, 1)), np.zeros(4)])
    return mk.ModuleSet.from_units(model, {"hidden": np.arange(32).reshape(4, 8) % 3 > 0})


def samples(classes, each=40):
    noise = np.random.default_rng(0).normal(0, 0.1, (each * len(classes), 4))
    return (CENTERS[np.repeat(classes, each)] + noise).astype("float32")


@pytest.mark.parametrize(
    ("classes", "words"),
    [([1, 3], "takes 0% of them"), ([0], r"none for the classes \['2'\]|none for .*2")],
)
def test_samples_of_other_classes_are_told(modules, classes, words):
    with pytest.warns(UserWarning, match=words):
        mk.compose(modules, [0, 2], calibration_data=samples(classes))


def test_samples_of_the_chosen_classes_are_not(modules):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        mk.compose(modules, [0, 2], calibration_data=samples([0, 2]))
        mk.compose(modules, [0, 2], calibration_data=samples([0, 2])[:5])  # few: by chance
