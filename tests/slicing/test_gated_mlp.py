"""Transformer parts that multiply: gated MLPs (SwiGLU), and heads of attention."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from masking import check_slicing, randomize

import moda_keras as mk


class SwiGLU(layers.Layer):
    def __init__(self, width, inner, **kwargs):
        super().__init__(**kwargs)
        self.gate = layers.Dense(inner, use_bias=False)
        self.up = layers.Dense(inner, use_bias=False)
        self.down = layers.Dense(width, use_bias=False)

    def build(self, shape):
        self.gate.build(shape)
        self.up.build(shape)
        self.down.build((*shape[:-1], self.up.units))

    def call(self, x):
        return self.down(ops.silu(self.gate(x)) * self.up(x))


def functional(x):
    gate = layers.Dense(12, activation="silu", use_bias=False, name="gate")(x)
    up = layers.Dense(12, use_bias=False, name="up")(x)
    return layers.Dense(6, use_bias=False, name="down")(layers.Multiply()([gate, up]))


def composite(x):
    return SwiGLU(6, 12, name="mlp")(x)


def model_of(middle):
    inputs = keras.Input((5, 6))
    x = layers.GlobalAveragePooling1D()(layers.Add()([inputs, middle(inputs)]))
    return randomize(keras.Model(inputs, layers.Dense(4)(x)))


@pytest.mark.parametrize("middle", [functional, composite])
def test_gated_mlp_is_cut_in_all_three_kernels(middle):
    model = model_of(middle)
    (hidden,) = mk.find_hidden_activations(model)
    assert hidden.units == 12
    units = {hidden.name: np.arange(12) % 3 == 0}
    sliced = check_slicing(model, units)
    kernels = [tuple(w.shape) for w in sliced.weights if w.name == "kernel"]
    assert kernels == [(6, 4), (6, 4), (4, 6), (6, 3)]


def test_gated_mlp_of_the_same_units_as_another_branch():
    def middle(x):
        y = layers.Dense(12, activation="silu", name="gate")(x)
        z = layers.Dense(12, name="up")(x)
        return layers.Dense(6)(layers.Concatenate()([y * z, z]))

    model = model_of(middle)
    sliced = check_slicing(model, {"gate": np.arange(12) < 4})
    # The second reader needs what the gate switches off.
    assert sliced.get_layer("up").units == 12
    assert sliced.get_layer("gate").units == 4


def test_heads_are_cut_in_all_four_kernels():
    model = model_of(lambda x: layers.MultiHeadAttention(4, 3, value_dim=2, name="heads")(x, x))
    (hidden,) = mk.find_hidden_activations(model)
    assert (hidden.name, hidden.units) == ("heads", 4)
    sliced = check_slicing(model, {"heads": np.array([False, True, False, True])})
    kernels = sorted(tuple(w.shape) for w in sliced.weights if len(w.shape) == 3)
    assert kernels == [(2, 2, 6), (6, 2, 2), (6, 2, 3), (6, 2, 3)]
