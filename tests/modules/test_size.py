import keras
import numpy as np
import pytest
from keras import layers
from masking import randomize
from small_models import cnn, mlp, random_modules, trainable_parameters

import moda_keras as mk
from moda_keras.evaluation import composed_size, module_size


@pytest.fixture(scope="module")
def modules():
    return random_modules(cnn())


@pytest.mark.parametrize("classes", [[1], [2, 0], [3, 1, 0, 2]])
def test_composed_size_is_that_of_the_composed_model(modules, classes):
    composed = mk.compose(modules, classes)
    expected = trainable_parameters(composed) / trainable_parameters(modules.model)
    assert composed_size(modules, classes) == expected


@pytest.mark.parametrize(
    "measure",
    [
        mk.metrics.module_size,
        mk.metrics.module_overlap,
        mk.metrics.mean_overlap,
        mk.metrics.layer_overlap,
        lambda modules: composed_size(modules, [0]),
    ],
)
def test_what_is_no_module_set_is_named(measure, modules):
    for wrong in ([modules[0], modules[1]], modules.model):
        with pytest.raises(ValueError, match="Expected `modules` to be a `ModuleSet`"):
            measure(wrong)


def test_size_of_the_composed_model_by_hand(modules):
    conv1, conv2, fc = (
        int((units[0] | units[2]).sum()) for units in (modules.units[n] for n in NAMES)
    )
    parameters = (9 * 2 + 1) * conv1 + (4 * conv1 + 1) * conv2 + (9 * conv2 + 1) * fc + (fc + 1) * 2
    whole = (9 * 2 + 1) * 5 + (4 * 5 + 1) * 4 + (9 * 4 + 1) * 7 + (7 + 1) * 4
    assert composed_size(modules, [0, 2]) == parameters / whole


NAMES = ["relu1", "conv2", "fc"]


def test_frozen_weights_count():
    inputs = keras.Input((4,))
    x = layers.Dense(6, activation="relu", name="first", trainable=False)(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.Dense(5, activation="relu", name="second")(x)
    modules = random_modules(randomize(keras.Model(inputs, layers.Dense(3)(x))))
    composed = mk.compose(modules, [1, 2])
    states = ("moving_mean", "moving_variance")
    expected, whole = (
        sum(np.prod(w.shape) for w in each.weights if w.name not in states)
        for each in (composed, modules.model)
    )
    assert composed_size(modules, [1, 2]) == expected / whole


def test_module_size(modules):
    sizes = module_size(modules)
    np.testing.assert_array_equal(sizes, [composed_size(modules, [c]) for c in range(4)])
    assert modules[3].size == sizes[3]


def test_class_without_samples_has_no_size():
    model = mlp()
    counts = {"first": np.full((3, 6), 2), "second": np.full((3, 5), 2)}
    modules = mk.ModuleSet.from_counts(model, counts, [2, 0, 2])
    sizes = module_size(modules)
    assert np.isnan(sizes).tolist() == [False, True, False]
    with pytest.raises(ValueError, match="had none"):
        composed_size(modules, [1])


def test_wholly_frozen_model_has_the_same_sizes():
    model = mlp()
    modules = random_modules(model)
    before = composed_size(modules, [0])
    model.trainable = False
    assert composed_size(modules, [0]) == before
