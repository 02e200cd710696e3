"""`explain`: what can be cut, what stays whole, and why."""

import keras
import numpy as np
import pytest
from command_line import ask
from keras import layers, ops
from masking import count, first_units, module_set, randomize

import moda_keras as mk


class Stateful(layers.Layer):
    def build(self, input_shape):
        self.last = self.add_weight(shape=(input_shape[-1],), name="last")

    def call(self, inputs):
        self.last.assign(self.last * 0.5)
        return inputs * self.last


def model():
    inputs = keras.Input((4,))
    x = layers.Dense(8, activation="relu", name="features")(inputs)
    x = layers.LayerNormalization(name="norm")(x)
    x = Stateful(name="stateful")(x)
    shared = layers.Dense(8, activation="relu", name="shared")
    x = shared(shared(x))
    return keras.Model(inputs, layers.Dense(3, name="logits")(x), name="pets")


@pytest.fixture(scope="module")
def explanation():
    with pytest.warns(UserWarning, match="No slicing rule"):
        return mk.explain(model())


def test_parameters_are_counted_once_each(explanation):
    assert explanation.parameters == model().count_params()
    assert {part.name: part.parameters for part in explanation.parts if part.parameters} == {
        "features": 40, "norm": 16, "stateful": 8, "shared": 72, "logits": 27,
    }  # fmt: skip


def normalized():
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(4, 3, use_bias=False, name="convolution")(inputs)
    x = layers.Activation("relu")(layers.BatchNormalization(name="batch")(x))
    x = layers.GroupNormalization(2, name="groups")(layers.Dropout(0.5)(x))
    return keras.Model(inputs, layers.Dense(3, name="logits")(layers.Flatten()(x)))


@pytest.mark.parametrize("frozen", [False, True])
def test_parameters_are_those_of_the_metrics_and_commands(frozen, tmp_path):
    """Moving averages and seeds are none, gamma and beta are, and so are frozen weights."""
    made = normalized()
    made.trainable = not frozen
    expected = {
        "convolution": 3 * 3 * 2 * 4, "batch": 2 * 4, "groups": 2 * 4, "logits": (4 * 4 * 4 + 1) * 3
    }  # fmt: skip
    explained = mk.explain(made)
    assert {part.name: part.parameters for part in explained.parts if part.parameters} == expected
    assert explained.parameters == mk.metrics.count_parameters(made) == sum(expected.values())
    made.save(tmp_path / "model.keras")
    assert ask("info", tmp_path / "model.keras")["parameters"] == explained.parameters


def test_parameters_that_stay_are_those_of_one_unit_and_one_class(explanation):
    """`shared` is fed with all eight outputs of `stateful`, by its first call."""
    kept = {part.name: part.kept for part in explanation.parts if part.parameters}
    assert kept == {"features": 4 + 1, "norm": 16, "stateful": 8, "shared": 8 + 1, "logits": 1 + 1}
    assert {part.name for part in explanation.whole} >= {"norm", "stateful"}
    assert explanation.share == pytest.approx(1 - sum(kept.values()) / explanation.parameters)


def test_reasons_are_given(explanation):
    why = {part.name: part.why_whole for part in explanation.parts}
    assert why["features"] is None
    assert "mean is one over all channels" in why["norm"]
    assert "it changes a state" in why["stateful"]


def test_units_are_those_of_hidden_activations(explanation):
    found = {part.name: part.units for part in explanation.hidden_activations}
    assert found["features"] == 8


def test_table_has_a_line_for_each_part_that_matters(explanation):
    first, header, *lines = str(explanation).splitlines()
    assert first.startswith("pets: 3 hidden activations; ")
    assert header.split()[:5] == ["part", "kind", "parameters", "stay", "units"]
    assert [line.split()[0] for line in lines][:3] == ["features", "norm", "stateful"]
    assert "logits" not in str(explanation)


def test_quantized_layer_says_so():
    inputs = keras.Input((4,))
    x = layers.Dense(8, activation="relu", name="odd")(inputs)
    quantized = keras.Model(inputs, layers.Dense(3)(x))
    quantized.get_layer("odd").quantize("float8")
    (part,) = [part for part in mk.explain(quantized).parts if part.name == "odd"]
    assert "quantized" in part.why_whole


def test_what_is_said_to_be_cut_is_cut():
    cut = keras.Sequential(
        [keras.Input((4,)), layers.Dense(8, "relu", name="a"), layers.Dense(6, "relu", name="b"),
         layers.Dense(3)]
    )  # fmt: skip
    assert mk.explain(cut).whole == []
    units = {
        name: np.arange(3 * size).reshape(3, size) % 2 == 0 for name, size in (("a", 8), ("b", 6))
    }
    small = mk.compose(mk.ModuleSet.from_units(cut, units), [0])
    assert all(
        len(ops.convert_to_numpy(new).ravel()) < len(ops.convert_to_numpy(old).ravel())
        for new, old in zip(small.weights, cut.weights, strict=True)
    )


def tokens(*rest):
    embedding = layers.Embedding(80, 6, name="embedding")
    return keras.Sequential([keras.Input((5,), dtype="int32"), embedding, *rest])


def residual():
    inputs = keras.Input((5, 6))
    x = layers.Dense(8, name="stem")(inputs)
    y = layers.MultiHeadAttention(2, 4, name="attention")(x, x)
    y = layers.LayerNormalization(name="norm")(layers.Add()([x, y]))
    y = layers.Dense(8, name="back")(layers.Dense(12, activation="gelu", name="mlp")(y))
    x = layers.GlobalAveragePooling1D()(layers.Add()([x, y]))
    return keras.Model(inputs, layers.Dense(4)(x))


def bottleneck():
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(8, 3, activation="relu", name="expand")(inputs)
    x = layers.BatchNormalization(name="batch")(layers.Conv2D(4, 1, name="project")(x))
    x = layers.Conv2D(8, 2, activation="relu", name="next")(x)
    return keras.Model(inputs, layers.Dense(3, "softmax")(layers.Flatten()(x)))


# Layers of which all outputs and most parameters stay, by the model that has them.
STAY = {
    "recurrent": (
        lambda: tokens(layers.LSTM(8), layers.Dense(9, "relu"), layers.Dense(4)), {"embedding"},
    ),
    "pooled": (
        lambda: tokens(layers.GlobalAveragePooling1D(), layers.Dense(7, "relu"), layers.Dense(4)),
        {"embedding"},
    ),
    "linear": (
        lambda: keras.Sequential(
            [keras.Input((4,)), layers.Dense(6, name="a"), layers.Dense(5, name="b"),
             layers.Dense(3)]
        ),
        {"a", "b"},
    ),
    "residual": (residual, {"stem", "norm", "attention_output"}),
    "bottleneck": (bottleneck, {"batch"}),
}  # fmt: skip


@pytest.mark.parametrize("kind", STAY)
def test_layers_without_units_are_said_to_stay(kind):
    make, expected = STAY[kind]
    explained = mk.explain(make())
    assert {part.name for part in explained.whole} == expected
    unlike = {part.why_whole for part in explained.whole if part.name != "norm"}
    assert unlike == {"its outputs are not units of a hidden activation"}
    assert all(name in str(explained) for name in expected)


@pytest.mark.parametrize("kind", STAY)
def test_figure_is_that_of_the_smallest_composed_model(kind):
    original = STAY[kind][0]()
    explained = mk.explain(original)
    small = mk.compose(module_set(original, first_units(original)), [0])
    assert explained.kept == count(small) < count(original) == explained.parameters
    for part in explained.parts:
        if part.parameters:
            assert part.kept == count(small.get_layer(part.name)), part.name


def test_biases_that_hold_constants_are_counted():
    original = randomize(
        keras.Sequential(
            [keras.Input((4,)), layers.Dense(6, "relu", name="features"),
             layers.BatchNormalization(), layers.Dense(3, use_bias=False, name="logits")]
        )
    )  # fmt: skip
    (part,) = [part for part in mk.explain(original).parts if part.name == "logits"]
    small = mk.compose(module_set(original, first_units(original)), [0])
    assert part.kept == count(small.get_layer("logits")) == 1 + 1


def test_figure_is_that_of_the_least_budget():
    original = randomize(STAY["recurrent"][0]())
    x, y = np.arange(60).reshape(12, 5), np.arange(12) % 4
    modules = mk.decompose(original, x, y, criterion="importance", verbose=0)
    kept = mk.explain(original).kept
    found = modules.within(parameters=kept / count(original), classes=[2])
    assert count(mk.compose(found, [2])) == kept
    with pytest.raises(ValueError, match="smallest model"):
        modules.within(parameters=(kept - 1) / count(original), classes=[2])


def test_model_without_a_graph_is_refused():
    with pytest.raises(ValueError, match="is not built yet"):
        mk.explain(keras.Sequential([layers.Dense(3)]))
