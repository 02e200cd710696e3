"""Which models `keep_outputs` takes, what it does with their layers, and what it refuses."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers
from masking import randomize
from several_outputs import (
    MODELS,
    assert_equal_outputs,
    class_model,
    expected_outputs,
    made,
    modules_of,
    outputs_of,
    random_masks,
    samples,
)

import moda_keras as mk


@pytest.mark.parametrize("name", ["heads", "residual", "conditional"])
def test_aligned_models_are_equal_too(name):
    model, modules, masks = modules_of(name, seed=1)
    x, chosen = samples(model), [3, 1]
    small = mk.compose(modules, chosen, keep_outputs=model, align=4)
    assert_equal_outputs(outputs_of(small, x), expected_outputs(name, model, masks, chosen, x))


@given(seed=st.integers(0, 999), chosen=st.permutations(range(4)), count=st.integers(1, 4))
@settings(max_examples=8, deadline=None)
def test_any_units_and_classes(seed, chosen, count):
    name = ["heads", "residual", "logits", "maps"][seed % 4]
    model, modules, masks = modules_of(name, seed)
    x, chosen = samples(model), chosen[:count]
    small = mk.compose(modules, chosen, keep_outputs=model)
    assert_equal_outputs(outputs_of(small, x), expected_outputs(name, model, masks, chosen, x))


def test_class_output_is_that_of_the_class_model_alone():
    model, modules, _ = modules_of("residual")
    x = samples(model)
    alone = mk.compose(modules, [1, 3]).predict_on_batch(x)
    both = outputs_of(mk.compose(modules, [1, 3], keep_outputs=model), x)["scores"]
    np.testing.assert_allclose(both, alone, rtol=1e-5, atol=1e-6)


def test_logits_are_those_of_the_chosen_classes_alone():
    model, modules, masks = modules_of("conditional")
    x = samples(model)
    small = mk.compose(modules, [3, 0], keep_outputs=model, logits=True)
    received = outputs_of(small, x)
    expected = expected_outputs("conditional", model, masks, [3, 0], x)
    logits = received["scores"]
    np.testing.assert_allclose(
        np.diff(logits), np.diff(np.log(expected["scores"])), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(received["fine"], expected["fine"], rtol=1e-4, atol=1e-6)


def test_sizes_count_the_kept_outputs():
    model, modules, masks = modules_of("heads")
    small = mk.compose(modules, [1, 2], keep_outputs=model)
    first, features = (each[[1, 2]].any(axis=0).sum() for each in masks.values())
    # Layer by layer: first, features, the class output, boxes, hidden layer and head of the task.
    counted = (6 * first, (first + 1) * features, (features + 1) * 2, (features + 1) * 4)
    counted = sum(counted) + (first + 1) * 6 + 7 * 3
    assert small.count_params() == counted
    size = mk.metrics.composed_size(modules, [1, 2], keep_outputs=model)
    assert size == counted / model.count_params()
    assert mk.metrics.count_flops(small) == counted - (first + features + 2 + 4 + 6 + 3)


def test_layer_whose_probabilities_others_read_is_there_once():
    model, modules, masks = modules_of("conditional")
    small = mk.compose(modules, [1, 2], keep_outputs=model)
    kept = masks["features"][[1, 2]].any(axis=0).sum()
    assert small.count_params() == 6 * kept + (kept + 1) * 4 + (4 + kept + 1) * 3


@keras.saving.register_keras_serializable(package="test_kept_outputs")
def shares(x):
    """Every unit's part of the whole."""
    return keras.ops.abs(x) / (1 + keras.ops.sum(keras.ops.abs(x), axis=-1, keepdims=True))


def test_units_that_read_each_other_before_they_are_masked():
    inputs = keras.Input((5,), name="inputs")
    features = layers.Dense(8, activation=shares, name="features")(inputs)
    model = keras.Model(inputs, [features, layers.Dense(4, name="scores")(features)])
    randomize(model)
    masks = random_masks({"features": 8})
    modules = mk.ModuleSet.from_units(class_model(model, 1), masks)
    x = samples(model)
    received = outputs_of(mk.compose(modules, [0, 1], keep_outputs=model), x)
    kernel, bias = model.get_layer("scores").get_weights()
    units = outputs_of(model, x)[0] * masks["features"][[0, 1]].any(axis=0)
    assert_equal_outputs(received, {0: units, 1: (units @ kernel + bias)[:, [0, 1]]})


def test_softmax_of_another_head_is_sliced_at_its_inputs():
    inputs = keras.Input((5,), name="inputs")
    x = layers.Dense(8, activation="relu", name="features")(inputs)
    scores, task = (layers.Dense(n, activation="softmax", name=str(n))(x) for n in (4, 3))
    model = randomize(keras.Model(inputs, [task, scores]))
    units = {"features": np.arange(8) < np.array([[2], [3], [4], [5]])}
    modules = mk.ModuleSet.from_units(keras.Model(inputs, scores), units)
    small = mk.compose(modules, [0, 1], keep_outputs=model)
    assert [tuple(each.kernel.shape) for each in small.layers[1:]] == [(5, 3), (3, 3), (3, 2)]
    assert not [each for each in small.layers if isinstance(each, mk.layers.ChannelFill)]


@pytest.mark.parametrize("name", ["heads", "maps", "residual", "conditional"])
def test_outputs_have_their_structure_names_and_shapes(name):
    model, modules, _ = modules_of(name)
    small = mk.compose(modules, [2, 0, 1], keep_outputs=model, name="small")
    keras.tree.assert_same_structure(small.output, model.output)
    assert small.output_names == model.output_names
    assert small.name == "small"
    _, output, _ = MODELS[name]
    shapes = keras.tree.map_structure(lambda each: tuple(each.shape), model.output)
    shapes[output] = (None, 3)
    assert keras.tree.map_structure(lambda each: tuple(each.shape), small.output) == shapes


def test_model_loaded_again_is_the_same_model(tmp_path):
    model, modules, masks = modules_of("maps")
    modules.save(tmp_path / "maps.modules")
    model.save(tmp_path / "whole.keras")
    x = samples(model)
    modules = mk.load_modules(tmp_path / "maps.modules")
    whole = keras.models.load_model(tmp_path / "whole.keras")
    small = mk.compose(modules, [3, 1], keep_outputs=whole)
    assert_equal_outputs(outputs_of(small, x), expected_outputs("maps", model, masks, [3, 1], x))


def test_nested_backbone_with_an_output_that_the_classes_do_not_read():
    image = keras.Input((5,), name="image")
    x = layers.Dense(8, activation="relu", name="features")(image)
    aside = layers.Dense(6, activation="relu", name="aside")(x)
    backbone = keras.Model(image, [x, aside], name="backbone")
    inputs = keras.Input((5,), name="inputs")
    features, other = backbone(inputs)
    scores = layers.Dense(4, name="scores")(features)
    model = keras.Model(inputs, {"scores": scores, "other": layers.Dense(2, name="other")(other)})
    randomize(model)
    masks = random_masks({"features": 8, "aside": 6})
    modules = mk.ModuleSet.from_units(class_model(model, "scores"), masks)
    x = samples(model)
    received = outputs_of(mk.compose(modules, [2, 1], keep_outputs=model), x)
    first, beside, head, last = (
        each.get_weights()
        for each in (*backbone.layers[1:], *map(model.get_layer, ("scores", "other")))
    )
    hidden = np.maximum(x @ first[0] + first[1], 0) * masks["features"][[2, 1]].any(axis=0)
    whole = np.maximum(hidden @ beside[0] + beside[1], 0)  # it leads to the other output alone
    expected = {
        "scores": (hidden @ head[0] + head[1])[:, [2, 1]],
        "other": whole @ last[0] + last[1],
    }
    assert_equal_outputs(received, expected)


def test_units_within_a_budget():
    model, _, _ = modules_of("heads")
    x, y = samples(model, 32), np.arange(32) % 4
    modules = mk.decompose(
        class_model(model, "scores"), x, y, criterion="importance", verbose=0
    ).within(parameters=0.5, classes=[0, 3])
    small = mk.compose(modules, [0, 3], keep_outputs=model)
    expected = expected_outputs("heads", model, modules.units, [0, 3], x)
    assert_equal_outputs(outputs_of(small, x), expected)


def snapshot(model):
    return (
        [(each.name, len(each._inbound_nodes), len(each._outbound_nodes)) for each in model.layers],
        [getattr(each, "activation", None) for each in model.layers],
        repr(model.get_config()),
        [keras.ops.convert_to_numpy(weight).tolist() for weight in model.weights],
    )


@pytest.mark.parametrize("name", ["conditional", "softmax", "shared"])
def test_original_stays_as_it_is(name):
    model, modules, _ = modules_of(name)
    before = snapshot(model)
    small = mk.compose(modules, [2, 0], keep_outputs=model)
    mk.masked_model(modules, [2, 0], keep_outputs=model)
    for weight in small.weights:
        weight.assign(keras.ops.zeros(weight.shape, weight.dtype))
    assert snapshot(model) == before


def test_of_equal_outputs_the_one_that_was_decomposed_has_the_classes():
    model = two_equal_outputs()
    for place in (0, 1):
        modules = mk.ModuleSet.from_units(
            class_model(model, place), random_masks({"first": 8, "features": 7})
        )
        small = mk.compose(modules, [2, 0], keep_outputs=model)
        assert small.outputs[place].shape == (None, 2)
        assert small.outputs[1 - place].shape == (None, 4)


def other_weights():
    model = made(MODELS["heads"][0])
    model.get_layer("first").kernel.assign(model.get_layer("first").kernel + 1)
    return model


def other_function():
    model = made(MODELS["heads"][0])
    model.get_layer("first").activation = keras.activations.gelu
    return model


def two_equal_outputs():
    """The same head twice on the same features."""
    model = made(MODELS["heads"][0])
    features = model.get_layer("features").output
    again = model.get_layer("scores")(features)
    return keras.Model(model.inputs, [again, model.get_layer("scores")(features)])


WRONG = {
    "a name": (lambda: "scores", r"`keep_outputs` to be the whole model.*'scores' \(of type str\)"),
    "one output": (lambda: class_model(made(MODELS["heads"][0]), "box"), "with one output. Leave"),
    "another model": (lambda: made(MODELS["maps"][0]), "none of whose outputs is that one"),
    "other weights": (other_weights, "'scores': 'first' has other weights than 'first'"),
    "another function": (other_function, "output 'scores': on random inputs it has other values"),
    "without the classes": (
        lambda: keras.Model(
            (whole := made(MODELS["heads"][0])).inputs, [whole.output["box"], whole.output["task"]]
        ),
        r"output 0: 'box' has other weights than 'scores'; output 1: 'task' has an output of",
    ),
    "two that are": (two_equal_outputs, r"in which \[0, 1\] all are.*Which one is meant\?"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_models_that_do_not_fit_are_refused(case):
    _, modules, _ = modules_of("heads")
    build, message = WRONG[case]
    model = build()
    for call in (mk.compose, mk.masked_model, mk.metrics.composed_size):
        with pytest.raises(ValueError, match=message):
            call(modules, [0, 1], keep_outputs=model)


def test_recurrent_layer_that_serves_other_outputs_too_is_refused():
    one, two = keras.Input((4, 3), name="one"), keras.Input((4, 3), name="two")
    gru = layers.GRU(6, name="gru")
    model = keras.Model([one, two], [layers.Dense(4, name="scores")(gru(one)), gru(two)])
    part = keras.Model(one, model.outputs[0])
    modules = mk.ModuleSet.from_units(part, random_masks({"gru": 6}))
    with pytest.raises(ValueError, match="whose layer 'gru' is called for other outputs too"):
        mk.compose(modules, [0, 1], keep_outputs=model)


def test_modular_training_of_several_outputs_is_refused_with_what_to_do():
    model, _, _ = modules_of("heads")
    with pytest.raises(ValueError, match=r"with 4 outputs. Pick one.*keep_outputs=model"):
        mk.ModularModel.from_model(model)
    with pytest.raises(ValueError, match=r"with 4 outputs. Pick one.*keep_outputs=model"):
        mk.decompose(model, samples(model), np.arange(6) % 4)


@pytest.mark.filterwarnings("ignore:Expected `calibration_data` to be samples of the chosen")
def test_repaired_output_is_the_best_fit_though_a_normalization_follows_it():
    inputs = keras.Input((5,), name="inputs")
    features = layers.Dense(12, activation="relu", name="features")(inputs)
    raw = layers.Dense(6, use_bias=False, name="raw")(features)
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(raw))
    model = randomize(keras.Model(inputs, {"raw": raw, "scores": layers.Dense(4)(x)}))
    masks = random_masks({"features": 12})
    modules = mk.ModuleSet.from_units(class_model(model, "scores"), masks)
    x, classes = samples(model, 200), [0, 1, 2, 3]
    small = mk.compose(modules, classes, keep_outputs=model, calibration_data=x, verbose=0)
    wanted = outputs_of(model, x)["raw"]
    kernel, bias = model.get_layer("features").get_weights()
    kept = np.maximum(x @ kernel + bias, 0)[:, masks["features"].any(axis=0)]
    best = kept @ np.linalg.lstsq(kept, wanted, rcond=None)[0]
    errors = [np.square(each - wanted).mean() for each in (outputs_of(small, x)["raw"], best)]
    assert errors[1] > 0.01
    assert errors[0] < 1.05 * errors[1]
