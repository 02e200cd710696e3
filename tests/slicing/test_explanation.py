"""`explain`: what can be cut, what stays whole, and why."""

import keras
import numpy as np
import pytest
from command_line import ask
from keras import layers, ops

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


def test_share_is_that_of_parts_that_can_be_cut(explanation):
    whole = sum(part.parameters for part in explanation.whole)
    assert {part.name for part in explanation.whole} >= {"norm", "stateful"}
    assert explanation.share == pytest.approx(1 - whole / explanation.parameters)


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
    assert header.split()[:4] == ["part", "kind", "parameters", "units"]
    assert [line.split()[0] for line in lines][:3] == ["features", "norm", "stateful"]
    assert "logits" not in str(explanation)


def test_quantized_layer_says_so():
    inputs = keras.Input((4,))
    x = layers.Dense(8, activation="relu", name="odd")(inputs)
    quantized = keras.Model(inputs, layers.Dense(3)(x))
    quantized.get_layer("odd").quantize("float8")
    (part,) = [part for part in mk.explain(quantized).parts if part.name == "odd"]
    assert "quantized" in part.why_whole


def test_what_is_said_to_be_cut_is_cut(explanation):
    cut = keras.Sequential(
        [keras.Input((4,)), layers.Dense(8, "relu", name="a"), layers.Dense(6, "relu", name="b"),
         layers.Dense(3)]
    )  # fmt: skip
    assert mk.explain(cut).share == 1.0
    units = {
        name: np.arange(3 * size).reshape(3, size) % 2 == 0 for name, size in (("a", 8), ("b", 6))
    }
    small = mk.compose(mk.ModuleSet.from_units(cut, units), [0])
    assert all(
        len(ops.convert_to_numpy(new).ravel()) < len(ops.convert_to_numpy(old).ravel())
        for new, old in zip(small.weights, cut.weights, strict=True)
    )


def test_model_without_a_graph_is_refused():
    with pytest.raises(ValueError, match="is not built yet"):
        mk.explain(keras.Sequential([layers.Dense(3)]))
