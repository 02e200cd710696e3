import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers, ops
from masking import check_slicing, fill_layers, inputs_for, random_units, randomize, run

from moda_keras.graph import keep_whole
from moda_keras.slicing import (
    Channels,
    Opaque,
    Rule,
    Slice,
    Slicer,
    WeightSlice,
    register_rule,
    slice_model,
)


def small_network(activation=None):
    inputs = keras.Input((6, 6, 2), name="image")
    x = layers.Conv2D(6, 3, use_bias=False, name="conv")(inputs)
    x = layers.ReLU(name="maps")(layers.BatchNormalization(name="norm")(x))
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(8, activation="relu", name="features")(x)
    outputs = layers.Dense(4, activation=activation, name="logits")(x)
    return randomize(keras.Model(inputs, outputs))


def plan_of(model, units, outputs):
    return Slicer(model).plan(units, outputs)


MASKS = {"maps": np.arange(6) < 4, "features": np.arange(8) % 2 == 0}


# --------------------------------------------------------------------------------------- output


def test_all_units_and_classes_give_the_original():
    model = small_network("softmax")
    sliced = slice_model(model, {}, np.arange(4))
    x = inputs_for(model)
    np.testing.assert_allclose(run(sliced, x), run(model, x), rtol=1e-6)


def test_outputs_come_in_the_chosen_order_without_an_extra_layer():
    model = small_network()
    x = inputs_for(model)
    sliced = slice_model(model, {}, np.array([3, 0, 1]))
    np.testing.assert_allclose(run(sliced, x), run(model, x)[:, [3, 0, 1]], rtol=1e-5)
    assert fill_layers(sliced) == []


@pytest.mark.parametrize("classes", [[2], [3, 1], [1, 0, 3, 2]])
def test_softmax_is_taken_over_the_chosen_logits(classes):
    sliced = check_slicing(small_network("softmax"), MASKS, classes)
    values = run(sliced, inputs_for(sliced))
    np.testing.assert_allclose(values.sum(axis=1), 1.0, rtol=1e-6)


def share_of_sum(values):
    return values / ops.sum(ops.abs(values), axis=-1, keepdims=True)


def summed_logits(x):
    return layers.Softmax()(layers.Add()([layers.Dense(4)(x), layers.Dense(4)(x)]))


def reshaped_logits(x):
    return layers.Softmax()(layers.Reshape((4,))(layers.Dense(4)(layers.Reshape((1, 8))(x))))


def cast(x):
    return layers.Activation("linear", dtype="float32")(x)


HEADS = {
    "softmax layer": lambda x: layers.Softmax()(layers.Dense(4)(x)),
    "activation layer": lambda x: layers.Activation("softmax", dtype="float32")(layers.Dense(4)(x)),
    "softmax operation": lambda x: ops.softmax(layers.Dense(4)(x)),
    "sigmoid": lambda x: layers.Dense(4, activation="sigmoid")(x),
    "softmax, then a cast": lambda x: cast(layers.Dense(4, activation="softmax")(x)),
    "softmax layer, then a cast": lambda x: cast(layers.Softmax()(layers.Dense(4)(x))),
    "hidden activation, then a cast": lambda x: cast(layers.Dense(4, activation="elu")(x)),
    "scaled softmax": lambda x: layers.Rescaling(2.0)(layers.Dense(4, activation="softmax")(x)),
    "custom activation": lambda x: layers.Dense(4, activation=share_of_sum)(x),
    "sum of logits": summed_logits,
    "reshaped logits": reshaped_logits,
}


@pytest.mark.parametrize("name", HEADS)
def test_head(name):
    inputs = keras.Input((5,))
    x = layers.Dense(8, activation="relu")(inputs)
    check_slicing(randomize(keras.Model(inputs, HEADS[name](x))), fraction=0.7)


LOGITS = [
    "softmax layer", "activation layer", "softmax operation", "sigmoid", "softmax, then a cast",
    "softmax layer, then a cast",
]  # fmt: skip


@pytest.mark.parametrize("name", LOGITS)
def test_logits_come_without_the_output_activation(name):
    inputs = keras.Input((5,))
    x = layers.Dense(8, activation="relu", name="features")(inputs)
    model = randomize(keras.Model(inputs, HEADS[name](x)))
    features = keras.Model(inputs, model.get_layer("features").output)
    kernel, bias = (keras.ops.convert_to_numpy(w) for w in model.layers[2].weights)
    x = inputs_for(model)
    expected = (run(features, x) @ kernel + bias)[:, [2, 0]]
    sliced = slice_model(model, {}, np.array([2, 0]), logits=True)
    np.testing.assert_allclose(run(sliced, x), expected, rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------------------------- what is copied


def test_original_is_not_changed():
    model = small_network("softmax")
    nodes = [len(layer._inbound_nodes) for layer in model.layers]
    weights = [weight.copy() for weight in model.get_weights()]
    sliced = slice_model(model, MASKS, np.array([1, 2]))
    for weight in sliced.weights:
        weight.assign(weight + 1.0)
    assert [len(layer._inbound_nodes) for layer in model.layers] == nodes
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(after, before)


def test_weights_are_those_of_the_original():
    model = small_network()
    sliced = slice_model(model, MASKS, np.array([2, 1]))
    original = model.get_layer("logits").get_weights()
    kernel, bias = sliced.get_layer("logits").get_weights()
    np.testing.assert_array_equal(kernel, original[0][::2][:, [2, 1]])
    np.testing.assert_array_equal(bias, original[1][[2, 1]])


def test_names_dtypes_and_trainable_flags_are_kept():
    inputs = keras.Input((5,), dtype="float16", name="signal")
    x = layers.Dense(8, activation="relu", dtype="mixed_bfloat16", name="frozen")(inputs)
    model = keras.Model(inputs, layers.Dense(4, dtype="float32", name="head")(x), name="whole")
    model.get_layer("frozen").trainable = False
    sliced = slice_model(model, {"frozen": np.arange(8) < 3}, np.array([1, 0]), name="part")
    assert sliced.name == "part"
    assert sliced.inputs[0].name == "signal"
    assert keras.backend.standardize_dtype(sliced.inputs[0].dtype) == "float16"
    assert [layer.name for layer in sliced.layers] == ["signal", "frozen", "head"]
    assert sliced.get_layer("frozen").dtype_policy.name == "mixed_bfloat16"
    assert not sliced.get_layer("frozen").trainable
    # Frozen parameters count: a model is no smaller for not being trained.
    assert plan_of(model, {}, np.array([1, 0])).trainable_size == (5 + 1) * 8 + (8 + 1) * 2


def test_initializers_are_kept():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(4, kernel_initializer="he_normal")])
    sliced = slice_model(model, {}, np.array([1, 0]))
    assert isinstance(sliced.layers[-1].kernel_initializer, keras.initializers.HeNormal)


def test_structure_of_inputs_and_output_is_kept():
    inputs = {"a": keras.Input((3,), name="a"), "b": keras.Input((4,), name="b")}
    x = layers.Concatenate()([inputs["b"], inputs["a"]])
    x = layers.Dense(6, activation="relu", name="units")(x)
    model = keras.Model(inputs, {"classes": layers.Dense(4)(x)})
    sliced = slice_model(model, {"units": np.arange(6) < 3}, np.array([1, 0]))
    values = sliced({"a": np.ones((2, 3), "float32"), "b": np.ones((2, 4), "float32")})
    assert values["classes"].shape == (2, 2)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "bfloat16"])
def test_precision_policy(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        inputs = keras.Input((6, 6, 2))
        x = layers.Conv2D(6, 3, activation="relu", name="maps")(inputs)
        x = layers.Activation("gelu")(layers.BatchNormalization()(x))
        x = layers.LayerNormalization()(layers.Conv2D(4, 3, padding="same")(x))
        x = layers.GlobalAveragePooling2D()(x)
        outputs = layers.Activation("softmax", dtype="float32")(layers.Dense(4)(x))
        model = randomize(keras.Model(inputs, outputs))
    finally:
        keras.config.set_dtype_policy(before)
    sliced = check_slicing(model, tolerance=0.05)
    assert {layer.dtype_policy.name for layer in sliced.layers if layer.weights} == {policy}


def test_saved_model_loads_without_this_library(tmp_path):
    sliced = slice_model(small_network("softmax"), MASKS, np.array([3, 1]))
    path, x = tmp_path / "sliced.keras", inputs_for(sliced)[0]
    sliced.save(path)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", run(sliced, [x]))
    script = (
        "import sys, keras, numpy as np\n"
        "model = keras.models.load_model('sliced.keras')\n"
        "y = keras.ops.convert_to_numpy(model(np.load('x.npy'), training=False))\n"
        "np.testing.assert_allclose(y, np.load('y.npy'), rtol=1e-5)\n"
        "assert 'moda_keras' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)


def test_saved_model_with_filled_channels_loads(tmp_path):
    inputs = keras.Input((5,))
    x = layers.LayerNormalization()(layers.Dense(6, activation="relu", name="units")(inputs))
    model = randomize(keras.Model(inputs, layers.Dense(4)(x)))
    sliced = slice_model(model, {"units": np.arange(6) < 3}, np.array([3, 1]))
    assert len(fill_layers(sliced)) == 1
    sliced.save(tmp_path / "sliced.keras")
    loaded, x = keras.models.load_model(tmp_path / "sliced.keras"), inputs_for(model)
    np.testing.assert_allclose(run(loaded, x), run(sliced, x), rtol=1e-6)


# --------------------------------------------------------------------------------------- plans


def test_plan_counts_parameters():
    plan = plan_of(small_network(), MASKS, np.array([2, 0]))
    conv, norm = 3 * 3 * 2 * 4, 2 * 4
    features, logits = (4 * 4 * 4 + 1) * 4, (4 + 1) * 2
    assert plan.trainable_size == conv + norm + features + logits


def test_plan_counts_a_bias_that_holds_folded_constants():
    inputs = keras.Input((5,))
    x = layers.BatchNormalization()(layers.Dense(6, activation="relu", name="units")(inputs))
    model = randomize(keras.Model(inputs, layers.Dense(4, use_bias=False)(x)))
    plan = plan_of(model, {"units": np.arange(6) < 3}, np.array([3, 1]))
    assert plan.trainable_size == (5 + 1) * 3 + 2 * 3 + (3 + 1) * 2


def test_planning_builds_no_layer(monkeypatch):
    slicer = Slicer(small_network())
    monkeypatch.setattr(keras.layers.Layer, "__call__", None)
    assert slicer.plan(MASKS, np.array([1])).trainable_size > 0


def test_slicer_reads_weights_when_it_builds():
    model = small_network()
    slicer = Slicer(model)
    plan = slicer.plan(MASKS, np.array([1, 2]))
    randomize(model, seed=5)
    x = inputs_for(model)
    np.testing.assert_allclose(
        run(slicer.build(plan), x), run(slice_model(model, MASKS, np.array([1, 2])), x), rtol=1e-6
    )


# -------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("units", "outputs", "message"),
    [
        ({"nothing": np.ones(6, bool)}, [0], "Unknown hidden activation"),
        ({"maps": np.ones(5, bool)}, [0], r"shape \(6,\)"),
        ({}, [], "non-empty array of integers from 0 to 3"),
        ({}, [4], "from 0 to 3"),
        ({}, [-1], "from 0 to 3"),
        ({}, [0.5], "integers"),
    ],
)
def test_impossible_arguments(units, outputs, message):
    with pytest.raises(ValueError, match=message):
        slice_model(small_network(), units, np.array(outputs))


class Doubled(keras.layers.Layer):
    def call(self, inputs):
        return 2.0 * inputs


def model_with(layer):
    inputs = keras.Input((5,))
    x = layer(layers.Dense(6, activation="relu", name="units")(inputs))
    return randomize(keras.Model(inputs, layers.Dense(4)(x)))


def test_registered_rule_slices_a_new_layer():
    @register_rule(Doubled)
    class DoubledRule(Rule):
        def needs(self, step, needed):
            return [needed]

        def slice(self, step, inputs, wanted):
            source = inputs[0].only(wanted)
            return Slice([source], Channels(source.kept, 2.0 * source.const))

    sliced = check_slicing(model_with(Doubled()), {"units": np.arange(6) < 2})
    assert sliced.layers[-1].kernel.shape[0] == 2


def rule_that_returns(**results):
    class Wrong(keras.layers.Dense):
        pass

    @register_rule(Wrong)
    class WrongRule(Rule):
        def needs(self, step, needed):
            return results.get("needs", [np.ones(6, bool)])

        def slice(self, step, inputs, wanted):
            return Slice(**{"inputs": [Channels.full(6)], "output": Channels.full(3), **results})

    return Wrong(3, name="odd_one")


@pytest.mark.parametrize(
    "results",
    [
        {"output": Channels.full(5)},
        {"inputs": [Channels.full(4)]},
        {"inputs": []},
        {"output": Channels(np.array([3]), np.zeros(3))},
        {"output": Channels(np.array([0]), np.zeros(3))},
        {"weights": {"kernel": WeightSlice({0: np.arange(2)})}},
        {"output": [Channels.full(3), Channels.full(3)]},
    ],
    ids=["output", "input", "number", "index", "layer", "weights", "outputs"],
)
def test_wrong_rule_is_named(results):
    model = model_with(rule_that_returns(**results))
    with pytest.raises(ValueError, match=r"'WrongRule'.*'odd_one'"):
        slice_model(model, {"units": np.arange(6) < 2}, np.array([0, 1]))


def test_rule_with_wrong_needs_is_named():
    class WrongNeeds(keras.layers.Layer):
        def call(self, inputs):
            return inputs

    @register_rule(WrongNeeds)
    class WrongNeedsRule(Rule):
        def needs(self, step, needed):
            return [np.ones(3, bool)]

    with pytest.raises(ValueError, match=r"'WrongNeedsRule'.*'odd_one'"):
        slice_model(model_with(WrongNeeds(name="odd_one")), {}, np.array([0, 1]))


class Unheard(keras.layers.Layer):
    """Is not seen through."""

    def call(self, inputs):
        return inputs * 2.0


keep_whole(Unheard)


def test_layer_that_no_rule_knows_is_named_once_by_a_slicer():
    inputs = keras.Input((5,))
    x = Unheard(name="odd_one")(Unheard()(layers.Dense(6, activation="relu")(inputs)))
    model = randomize(keras.Model(inputs, layers.Dense(4)(x)))
    with pytest.warns(UserWarning, match=r"'\w+' of class Unheard.*register_rule") as record:
        slicer = Slicer(model)
        for _ in range(2):
            slicer.plan({}, np.array([0, 1]))
    assert len([w for w in record if "No slicing rule" in str(w.message)]) == 1
    assert len(fill_layers(check_slicing(model))) == 1


def test_layers_that_are_whole_on_purpose_give_no_warning(recwarn):
    class Mixing(Unheard):
        def call(self, inputs):
            return inputs * ops.sum(inputs, axis=-1, keepdims=True)

    register_rule(Mixing)(Opaque)
    inputs = keras.Input((5,))
    x = Mixing()(layers.LayerNormalization()(layers.Dense(6, activation="relu")(inputs)))
    Slicer(keras.Model(inputs, layers.Dense(4)(layers.Lambda(lambda t: t * 2.0)(x))))
    assert not [w for w in recwarn if "No slicing rule" in str(w.message)]


def test_model_with_several_outputs_is_refused():
    inputs = keras.Input((5,))
    model = keras.Model(inputs, [layers.Dense(4)(inputs), layers.Dense(3)(inputs)])
    with pytest.raises(ValueError, match=r"2 outputs. Pick one: `keras.Model"):
        Slicer(model)


def test_plan_counts_fills_and_names_what_is_whole():
    inputs = keras.Input((5,))
    x = layers.Dense(6, activation="relu", name="units")(inputs)
    x = layers.LayerNormalization(name="mixes")(x)
    plan = plan_of(keras.Model(inputs, layers.Dense(4)(x)), {"units": np.arange(6) < 2}, [0])
    assert plan.fills == 1
    assert plan.kept_whole == ["mixes"]


def test_later_rule_comes_first():
    class Twice(Unheard):
        def call(self, inputs):
            return 2.0 * inputs

    register_rule(Twice)(Opaque)
    assert plan_of(model_with(Twice(name="odd_one")), {}, [0]).kept_whole == ["odd_one"]

    @register_rule(Twice)
    class TwiceRule(Rule):
        def needs(self, step, needed):
            return [needed]

        def slice(self, step, inputs, wanted):
            source = inputs[0].only(wanted)
            return Slice([source], Channels(source.kept, 2.0 * source.const))

    assert plan_of(model_with(Twice()), {}, [0]).kept_whole == []


def test_no_fill_reads_another():
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(6, 3, activation="relu")(inputs)
    for _ in range(2):
        y = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.Concatenate()([x, layers.Conv2D(4, 3, padding="same")(y)])
        x = layers.LayerNormalization()(x)
    x = layers.GlobalAveragePooling2D()(x)
    sliced = check_slicing(randomize(keras.Model(inputs, layers.Dense(4)(x))))
    fills = set(fill_layers(sliced))
    assert fills
    for name in fills:
        assert sliced.get_layer(name).input._keras_history.operation.name not in fills


def test_random_units_are_a_real_choice():
    masks = random_units(small_network())
    assert any(mask.any() and not mask.all() for mask in masks.values())
