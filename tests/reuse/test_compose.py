import warnings

import keras
import numpy as np
import pytest
from keras import layers
from masking import inputs_for, randomize, relative_difference, run

import moda_keras as mk
from moda_keras.modules.module_set import ModuleSet
from moda_keras.reuse.compose import compose
from moda_keras.reuse.masked_model import masked_model

NAMES = ["ant", "bee", "cat", "dog"]


@pytest.fixture
def modules():
    model = keras.Sequential(
        [
            keras.Input((5,)),
            layers.Dense(6, activation="relu", name="first"),
            layers.Dense(8, activation="relu", name="second"),
            layers.Dense(4, activation="softmax", name="head"),
        ]
    )
    units = {
        "first": np.array([[c == i % 4 or i == 5 for i in range(6)] for c in range(4)]),
        "second": np.array([[i // 2 == c for i in range(8)] for c in range(4)]),
    }
    return ModuleSet.from_units(randomize(model), units, class_names=NAMES)


def by_hand(modules, classes, x):
    """The masked model with loops over units."""
    value = x.astype("float64")
    for name in ("first", "second", "head"):
        kernel, bias = modules.model.get_layer(name).get_weights()
        samples, inputs, units = len(value), *kernel.shape
        result = np.zeros((samples, units))
        for b in range(samples):
            for j in range(units):
                total = bias[j] + sum(value[b, i] * kernel[i, j] for i in range(inputs))
                stays = name == "head" or any(modules.units[name][c, j] for c in classes)
                result[b, j] = total if name == "head" else max(total, 0.0) * stays
        value = result
    exponentials = np.exp(value[:, classes])
    return exponentials / exponentials.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("classes", [[2], [3, 0], [1, 0, 3, 2]])
@pytest.mark.parametrize("build", [masked_model, compose])
def test_model_is_what_a_module_means(modules, build, classes):
    x = inputs_for(modules.model)
    expected = by_hand(modules, classes, x[0])
    assert relative_difference(run(build(modules, classes), x), expected) < 1e-5


@pytest.mark.parametrize("build", [masked_model, compose])
def test_classes_by_name_and_model_name(modules, build):
    x = inputs_for(modules.model)
    model = build(modules, ["dog", "ant"], name="pets")
    assert model.name == "pets"
    np.testing.assert_array_equal(run(model, x), run(build(modules, [3, 0]), x))


@pytest.mark.parametrize("build", [masked_model, compose])
@pytest.mark.parametrize("classes", [[], [4], ["cow"], [1, 1], ["bee", 1]])
def test_impossible_classes(modules, build, classes):
    with pytest.raises(ValueError, match=r"[Cc]lass"):
        build(modules, classes)


def test_composed_model_has_the_union_of_the_modules(modules):
    small = compose(modules, [0, 2])
    assert [small.get_layer(name).units for name in ("first", "second", "head")] == [4, 4, 2]


def test_masked_model_has_the_full_size_and_leaves_the_original_alone(modules):
    before = modules.model.get_weights()
    nodes = [len(layer._inbound_nodes) for layer in modules.model.layers]
    masked = masked_model(modules, [0, 2])
    assert masked.count_params() == modules.model.count_params()
    for weight in masked.weights:
        weight.assign(weight + 1.0)
    assert [len(layer._inbound_nodes) for layer in modules.model.layers] == nodes
    for old, new in zip(before, modules.model.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)


def test_masked_model_can_be_saved(modules, tmp_path):
    masked, x = masked_model(modules, [3, 1]), inputs_for(modules.model)
    masked.save(tmp_path / "masked.keras")
    loaded = keras.models.load_model(tmp_path / "masked.keras")
    np.testing.assert_allclose(run(loaded, x), run(masked, x), rtol=1e-6)


def test_composed_model_can_be_trained(modules):
    small = compose(modules, [0, 2])
    small.compile("sgd", "sparse_categorical_crossentropy")
    before = [weight.copy() for weight in small.get_weights()]
    small.fit(inputs_for(small, 8)[0], np.arange(8) % 2, verbose=0)
    changed = [not np.array_equal(a, b) for a, b in zip(before, small.get_weights(), strict=True)]
    assert all(changed)


def softmax_modules():
    inputs = keras.Input((4,))
    x = keras.layers.Dense(6, activation="relu", name="units")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x))
    return mk.ModuleSet.from_units(model, {"units": np.ones((3, 6), bool)})


def test_softmax_over_one_class_is_constant_and_said_to_be():
    modules = softmax_modules()
    for build in (lambda: mk.compose(modules, [1]), lambda: modules[1].to_model()):
        with pytest.warns(UserWarning, match="over one class is constant"):
            build()


def test_logits_leave_out_the_output_activation():
    modules = softmax_modules()
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    logits = mk.compose(modules, [2, 0], logits=True).predict(x, verbose=0)
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    composed = mk.compose(modules, [2, 0]).predict(x, verbose=0)
    np.testing.assert_allclose(scores, composed, rtol=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert modules[2].to_model(logits=True).output_shape == (None, 1)


def test_modules_in_a_list_stand_for_their_classes():
    modules = softmax_modules()
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    expected = modules.compose([2, 0]).predict(x, verbose=0)
    np.testing.assert_allclose(
        mk.compose([modules[2], modules[0]]).predict(x, verbose=0), expected, rtol=1e-6
    )
    with pytest.raises(ValueError, match="modules of 2"):
        mk.compose([modules[2], softmax_modules()[0]])


@pytest.mark.parametrize("function", [mk.compose, mk.masked_model])
def test_model_in_place_of_modules_is_named(function):
    model = softmax_modules().model
    with pytest.raises(ValueError, match=r"`modules` to be a `ModuleSet`.*Received: a model"):
        function(model, [0])


def test_optional_inputs_stay_optional():
    image, extra = keras.Input((4,), name="image"), keras.Input((4,), name="extra", optional=True)
    x = keras.layers.Dense(6, activation="relu", name="units")(image)
    model = keras.Model([image, extra], keras.layers.Dense(3)(x))
    small = mk.compose(mk.ModuleSet.from_units(model, {}), [0, 1])
    x = np.ones((2, 4), "float32")
    assert small([x, None]).shape == (2, 2)
