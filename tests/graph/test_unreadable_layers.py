"""Layers with units inside that nobody sees are named, never passed over."""

import keras
import numpy as np
import pytest
from keras import layers

import moda_keras as mk
from moda_keras import graph


class Swish(layers.Layer):
    """Is not seen through."""

    def call(self, inputs):
        return inputs * keras.ops.sigmoid(inputs)


class Double(layers.Layer):
    def call(self, inputs):
        return inputs * 2.0 + 1.0


class Block(layers.Layer):
    """Has an attribute `activation`, puts out something linear, and is not seen through."""

    def __init__(self, activation="relu", **kwargs):
        super().__init__(**kwargs)
        self.activation = keras.activations.get(activation)
        self.inner, self.outer = layers.Dense(5), layers.Dense(4)

    def build(self, input_shape):
        self.inner.build(input_shape)
        self.outer.build((None, 5))

    def call(self, inputs):
        return self.outer(self.activation(self.inner(inputs)))


graph.keep_whole(Swish)
graph.keep_whole(Block)


def attention_with_scores():
    layer = layers.MultiHeadAttention(2, 3, name="odd")
    return lambda x: layer(x, x, return_attention_scores=True)[0]


def convolutions():
    return keras.Sequential([keras.Input((6, 6, 1)), layers.Conv2D(3, 3, activation="relu")])


def masked(layer):
    return [layers.Embedding(9, 4, mask_zero=True), layer]


HIDING = {
    "own activation": ((6,), lambda: [Swish(name="odd")]),
    "own block": ((6,), lambda: [Block(name="odd")]),
    "wrapped activation": (
        (6,),
        lambda: [layers.SpectralNormalization(layers.Dense(4, activation="relu"), name="odd")],
    ),
    "model over time": (
        (2, 6, 6, 1),
        lambda: [layers.TimeDistributed(convolutions(), name="odd"), layers.Flatten()],
    ),
    "masked directions in a nested model": (
        (6,),
        lambda: masked(
            keras.Sequential([layers.Bidirectional(layers.GRU(3), name="odd")], name="nested")
        ),
    ),
    "masked attention": (
        (6,),
        lambda: [*masked(attention_with_scores()), layers.GlobalAveragePooling1D()],
    ),
}


def model_with(shape, middle):
    is_masked = isinstance(middle[0], layers.Embedding)
    first = keras.Input(shape, dtype="int32" if is_masked else None)
    last = [layers.Dense(5, activation="relu", name="seen"), layers.Dense(3)]
    x = first
    for layer in [*middle, *last]:
        x = layer(x)
    return keras.Model(first, x)


@pytest.mark.parametrize("name", HIDING)
def test_decompose_and_from_model_name_the_layer(name):
    shape, middle = HIDING[name]
    model = model_with(shape, middle())
    assert [h.name for h in mk.find_hidden_activations(model)] == ["seen"]
    x, y = np.ones((6, *shape)), np.arange(6) % 3
    with pytest.warns(UserWarning, match=r"inside the layers \['odd'\] are not visible"):
        modules = mk.decompose(model, x, y, verbose=0)
    assert "The units inside odd are not visible" in unseen(modules)
    with pytest.warns(UserWarning, match=r"inside the layers \['odd'\]"):
        mk.ModularModel.from_model(model)


def test_affine_layer_of_ones_own_hides_nothing():
    model = model_with((6,), [Double()])
    assert graph.find_unreadable_layers(graph.trace(model)) == []


def test_layers_whose_weights_no_rule_knows_are_named():
    model = model_with((6,), [layers.Dense(4, name="odd")])
    model.get_layer("odd").quantize("float8")
    with pytest.warns(UserWarning, match=r"layers \['odd'\] are quantized, or have LoRA"):
        modules = mk.decompose(model, np.ones((6, 6)), np.arange(6) % 3, verbose=0)
    assert "Quantized, or with LoRA enabled, and whole: odd." in unseen(modules)


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("change", ["lora", "int8"])
def test_layers_with_changed_weights_that_are_cut_are_not_named(change):
    model = model_with((6,), [layers.Dense(4, activation="relu", name="odd")])
    if change == "lora":
        model.get_layer("odd").enable_lora(2)
    else:
        model.get_layer("odd").quantize("int8")
    modules = mk.decompose(model, np.ones((6, 6)), np.arange(6) % 3, verbose=0)
    assert not [each for each in modules.diagnose() if each.sign == "unseen"]


def unseen(modules):
    """What the diagnosis says of units that cannot be observed."""
    (found,) = [each for each in modules.diagnose() if each.sign == "unseen"]
    return found.message


def test_network_of_gates_alone_is_told_why():
    inputs = keras.Input((6,))
    model = keras.Model(inputs, layers.Dense(3)(layers.Dense(4, activation="sigmoid")(inputs)))
    for call in (mk.ModularModel.from_model, lambda m: mk.choose_epsilons(m, np.ones((2, 6)))):
        with pytest.raises(ValueError, match="Sigmoid, hard_sigmoid and softmax count as gates"):
            call(model)


def relu(x):
    return keras.ops.tanh(x)


def test_function_of_ones_own_named_relu_promises_nothing():
    inputs = keras.Input((6,))
    model = keras.Model(inputs, layers.Dense(3)(layers.Dense(4, activation=relu)(inputs)))
    (hidden,) = mk.find_hidden_activations(model)
    assert (hidden.exact_zero, hidden.non_negative) == (False, False)
