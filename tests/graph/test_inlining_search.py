"""Random composite layers: what is seen inside gives the same as the layer."""

import keras
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers, ops

import moda_keras as mk
from moda_keras import graph

WIDTH = 5
SIMPLE = st.sampled_from(
    ["dense", "conv", "relu", "gelu", "scale", "shift", "matmul", "bias", "norm", "layer norm",
     "drop", "gate", "residual", "transpose", "concat", "constant"]
)  # fmt: skip
PROGRAMS = st.recursive(
    st.lists(SIMPLE, min_size=1, max_size=5),
    lambda inner: st.lists(st.one_of(SIMPLE, inner), min_size=1, max_size=4),
    max_leaves=12,
)


class Program(layers.Layer):
    """Runs instructions on sequences (batch, time, 5); a list of them is a layer inside."""

    def __init__(self, program, factor_is_given=False):
        super().__init__()
        self.program = repr(program)
        self.steps = []
        self.factor_is_given = factor_is_given
        for index, instruction in enumerate(program):
            part = self.part(instruction)
            if part is not None:
                setattr(self, f"part{index}", part)
            self.steps.append((instruction if isinstance(instruction, str) else "nested", index))

    def part(self, instruction):
        if not isinstance(instruction, str):
            return Program(instruction, factor_is_given=True)
        return {
            "dense": lambda: layers.Dense(WIDTH, activation="tanh"),
            "conv": lambda: layers.Conv1D(WIDTH, 2, padding="same", activation="relu"),
            "norm": layers.BatchNormalization,
            "layer norm": layers.LayerNormalization,
            "drop": lambda: layers.Dropout(0.3),
            "concat": lambda: layers.Dense(WIDTH),
        }.get(instruction, lambda: None)()

    def build(self, input_shape):
        def weight(name, *shape):
            return self.add_weight(shape=shape, initializer="random_normal", name=name)

        for instruction, index in self.steps:
            part = getattr(self, f"part{index}", None)
            if part is not None:
                last = 2 * WIDTH if instruction == "concat" else WIDTH
                part.build((*input_shape[:-1], last))
            shapes = {"scale": [WIDTH], "shift": [WIDTH], "matmul": [WIDTH, WIDTH], "bias": [WIDTH]}
            if instruction in shapes:
                setattr(self, f"weight{index}", weight(f"w{index}", *shapes[instruction]))

    def call(self, inputs, factor=None, training=None):
        x = inputs if factor is None else inputs * factor
        for instruction, index in self.steps:
            x = self.apply(instruction, index, x, inputs, training)
        return x

    def apply(self, instruction, index, x, inputs, training):
        part = getattr(self, f"part{index}", None)
        weight = getattr(self, f"weight{index}", None)
        if instruction == "nested":
            return part(x, factor=0.5, training=training)
        if instruction == "drop":
            return part(x, training=training)
        if instruction == "concat":
            return part(ops.concatenate([x, inputs], axis=-1))
        if part is not None:
            return part(x)
        return {
            "relu": lambda: ops.relu(x),
            "gelu": lambda: keras.activations.gelu(x),
            "scale": lambda: x * weight,
            "shift": lambda: x + weight,
            "matmul": lambda: ops.matmul(x, weight),
            "bias": lambda: ops.relu(x + weight),
            "gate": lambda: x * ops.sigmoid(x),
            "residual": lambda: x + inputs,
            "transpose": lambda: ops.transpose(ops.transpose(x, (0, 2, 1)), (0, 2, 1)),
            "constant": lambda: x - ops.linspace(0.0, 1.0, WIDTH),
        }[instruction]()


def network(program):
    inputs = keras.Input((3, WIDTH))
    x = layers.Dense(WIDTH, activation="relu")(inputs)
    x = Program(program)(x)
    x = layers.Dense(4, activation="relu")(layers.Flatten()(x))
    model = keras.Model(inputs, layers.Dense(3)(x))
    random = np.random.default_rng(0)
    for weight in model.weights:
        if weight.dtype == "float32":
            values = random.normal(size=weight.shape)
            weight.assign(np.abs(values) + 0.5 if "variance" in weight.path else values)
    return model


@given(PROGRAMS)
@settings(max_examples=20, deadline=None)
def test_random_layer_is_seen_through_exactly(program):
    model = network(program)
    assert graph.trace(model).opaque == {}
    x = np.random.default_rng(1).normal(size=(4, 3, WIDTH)).astype("float32")
    random = np.random.default_rng(2)
    units = {
        each.name: random.random((3, each.units)) < 0.6
        for each in mk.find_hidden_activations(model)
    }
    expected = model.predict(x, verbose=0)
    tolerance = {"rtol": 1e-3, "atol": 1e-4 * max(1.0, float(np.abs(expected).max()))}
    whole = mk.compose(mk.ModuleSet.from_units(model, {}), [0, 1, 2])
    np.testing.assert_allclose(whole.predict(x, verbose=0), expected, **tolerance)
    modules = mk.ModuleSet.from_units(model, units)
    np.testing.assert_allclose(
        mk.compose(modules, [2, 0]).predict(x, verbose=0),
        mk.masked_model(modules, [2, 0]).predict(x, verbose=0),
        **tolerance,
    )
