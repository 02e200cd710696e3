import keras
import numpy as np
import pytest
from inlined import Inlined
from keras import layers

import moda_keras as mk
from moda_keras import graph

ON_JAX = keras.backend.backend() == "jax"


def hidden(model):
    return [(h.name, h.units) for h in mk.find_hidden_activations(model)]


def sequential(*inner, shape=(4,), name=None):
    return keras.Sequential([keras.Input(shape), *inner], name=name)


def single(operation, shape=(4,)):
    """The hidden activations of a model that applies one operation between two dense layers."""
    inputs = keras.Input(shape)
    x = operation(layers.Dense(6)(inputs))
    return mk.find_hidden_activations(keras.Model(inputs, layers.Dense(3)(x)))


# JAX runs every operation once to learn its shape.
@pytest.mark.parametrize(
    ("architecture", "size", "count"),
    [
        ("VGG16", 32, 15),
        pytest.param("MobileNetV2", 32, 35, marks=pytest.mark.skipif(ON_JAX, reason="slow")),
        pytest.param("EfficientNetB0", 32, 49, marks=pytest.mark.skipif(ON_JAX, reason="slow")),
        pytest.param("ResNet50", 32, 49, marks=pytest.mark.skipif(ON_JAX, reason="slow")),
    ],
)
def test_number_of_hidden_activations_of_known_architectures(architecture, size, count):
    build = getattr(keras.applications, architecture)
    model = build(weights=None, input_shape=(size, size, 3), classes=10)
    found = mk.find_hidden_activations(model)
    assert len(found) == count
    assert len({h.name for h in found}) == count
    assert all(h.channel_axis == len(h.tensor.shape) - 1 for h in found)
    assert all(h.units == h.tensor.shape[-1] for h in found)


def test_names_are_those_of_the_layers_in_the_order_of_execution():
    model = sequential(
        layers.Dense(8, activation="relu", name="first"),
        layers.Dense(7, name="second"),
        layers.ReLU(name="rectified"),
        layers.Dense(6, name="third"),
        layers.Activation("tanh", name="squashed"),
        layers.Dense(3, activation="softmax"),
    )
    assert hidden(model) == [("first", 8), ("rectified", 7), ("squashed", 6)]


def test_gates_and_distributions_are_no_hidden_activations():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, activation="relu", name="features")(inputs)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(4, 1, activation="sigmoid")(gate)
    x = layers.Multiply()([x, gate])
    x = layers.Multiply()([x, layers.Activation("hard_sigmoid")(x)])
    x = layers.Multiply()([x, layers.Softmax()(x)])
    x = layers.Multiply()([x, keras.ops.sigmoid(x)])
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))
    assert hidden(model) == [("features", 4)]


@pytest.mark.parametrize("activation", ["relu", "tanh", None])
def test_output_of_the_model_is_no_hidden_activation(activation):
    assert hidden(sequential(layers.Dense(3, activation=activation))) == []


def test_hidden_activation_of_a_layer_whose_output_is_also_used_further_is_found_once():
    inputs = keras.Input((4,))
    x = layers.Dense(5, activation="relu", name="trunk")(inputs)
    merged = layers.Concatenate()([x, layers.Dense(2, activation="relu", name="branch")(x), x])
    assert hidden(keras.Model(inputs, layers.Dense(3)(merged))) == [("trunk", 5), ("branch", 2)]


def test_activations_outside_the_path_to_the_output_are_not_found():
    inputs = keras.Input((4,))
    x = layers.Dense(5, activation="relu", name="used")(inputs)
    layers.Dense(6, activation="relu", name="unused")(x)
    assert hidden(keras.Model(inputs, layers.Dense(3)(x))) == [("used", 5)]


def test_further_calls_of_a_shared_layer_are_numbered():
    first, second = keras.Input((4,)), keras.Input((4,))
    shared = layers.Dense(5, activation="relu", name="shared")
    x = layers.Add()([shared(first), shared(second)])
    model = keras.Model([first, second], layers.Dense(3)(x))
    assert hidden(model) == [("shared", 5), ("shared_1", 5)]


def test_layer_shared_with_another_model_is_read_from_this_one():
    shared = layers.Dense(5, activation="relu", name="shared")
    other = keras.Input((4,))
    keras.Model(other, shared(other))
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(3)(shared(inputs)))
    (found,) = mk.find_hidden_activations(model)
    probe = keras.Model(inputs, found.tensor)
    assert probe(np.ones((2, 4), "float32")).shape == (2, 5)


@pytest.mark.parametrize("nested_twice", [False, True])
def test_nested_models_are_looked_into(nested_twice):
    inner_inputs = keras.Input((4,))
    x = layers.Dense(5, activation="relu", name="inside")(inner_inputs)
    inner = keras.Model(inner_inputs, layers.Dense(6, name="inside_linear")(x), name="inner")
    if nested_twice:
        inner = sequential(inner, layers.ReLU(name="between"), name="middle")
    inputs = keras.Input((4,))
    x = layers.Dense(4, activation="relu", name="outside")(inner(layers.Dense(4)(inputs)))
    model = keras.Model(inputs, layers.Dense(3)(x))
    between = [("between", 6)] if nested_twice else []
    assert hidden(model) == [("inside", 5), *between, ("outside", 4)]


def test_output_of_a_nested_model_is_a_hidden_activation():
    inner = sequential(layers.Dense(5, activation="relu", name="inside"))
    assert hidden(sequential(inner, layers.Dense(3))) == [("inside", 5)]


def test_same_names_in_different_nested_models():
    branches = [sequential(layers.Dense(5, activation="relu", name="same")) for _ in range(3)]
    inputs = keras.Input((4,))
    merged = layers.Add()([branch(inputs) for branch in branches])
    model = keras.Model(inputs, layers.Dense(3)(merged))
    x = np.random.default_rng(0).normal(size=(2, 4)).astype("float32")
    before = keras.ops.convert_to_numpy(model(x))

    assert hidden(model) == [("same", 5), ("same_1", 5), ("same_2", 5)]
    assert [branch.layers[-1].name for branch in branches] == ["same"] * 3
    inlined = Inlined(model)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(inlined(x)), before, rtol=1e-6)


def test_nested_models_are_inlined_and_their_layers_shared():
    dense = layers.Dense(5, activation="relu")
    nested = sequential(sequential(dense), layers.Dense(3))
    inlined = Inlined(nested)
    assert inlined.operations == [dense, nested.layers[-1]]
    assert {id(w) for w in inlined.weights} == {id(w) for w in nested.weights}


def normalized_inner():
    inner = sequential(layers.Dense(5, activation="relu"), layers.BatchNormalization())
    inner.layers[-1].moving_mean.assign([3.0] * 5)
    return inner


def test_nested_model_called_for_inference_keeps_that_when_inlined():
    inner = normalized_inner()
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(3)(inner(inputs, training=False)))
    x = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")

    (step,) = [
        s for s in graph.trace(model).steps if isinstance(s.operation, layers.BatchNormalization)
    ]
    assert step.kwargs["training"] is False

    inlined = Inlined(model)
    for training in (None, False, True):
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(inlined(x, training=training)),
            keras.ops.convert_to_numpy(model(x, training=training)),
            rtol=1e-5,
            atol=1e-6,
        )


def test_frozen_normalization_of_a_nested_model_uses_moving_statistics_in_training():
    inner = normalized_inner()
    inner.trainable = False
    inlined = Inlined(sequential(inner, layers.Dense(3)))
    x = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(inlined(x, training=True)),
        keras.ops.convert_to_numpy(inlined(x, training=False)),
    )
    assert keras.ops.convert_to_numpy(inner.layers[-1].moving_mean).tolist() == [3.0] * 5


def test_units_of_channels_first_maps_are_on_axis_one():
    model = sequential(
        layers.Conv2D(4, 3, data_format="channels_first", activation="relu", name="conv"),
        layers.BatchNormalization(axis=1),
        layers.ReLU(name="rectified"),
        layers.MaxPooling2D(data_format="channels_first"),
        layers.Flatten(data_format="channels_first"),
        layers.Dense(5, activation="relu", name="dense"),
        layers.Dense(3),
        shape=(2, 8, 9),
    )
    found = mk.find_hidden_activations(model)
    assert [(h.name, h.units, h.channel_axis) for h in found] == [
        ("conv", 4, 1),
        ("rectified", 4, 1),
        ("dense", 5, 1),
    ]


def test_marked_activations_alone_count_where_there_are_any():
    model = sequential(
        layers.Dense(8, activation="relu"),
        layers.Dense(7),
        mk.layers.ModularActivation("relu", name="marked"),
        layers.Dense(6, activation="relu"),
        layers.Dense(3),
    )
    assert hidden(model) == [("marked", 7)]


@pytest.mark.parametrize("activation", ["sigmoid", "softmax", None])
def test_marked_gate_or_identity_counts(activation):
    model = sequential(
        layers.Dense(7), mk.layers.ModularActivation(activation, name="marked"), layers.Dense(3)
    )
    assert hidden(model) == [("marked", 7)]


@pytest.mark.parametrize(
    ("operation", "exact_zero", "non_negative"),
    [
        (keras.ops.relu, True, True),
        (keras.ops.relu6, True, True),
        (keras.ops.gelu, False, False),
        (keras.ops.tanh, False, False),
        (layers.Activation("relu"), True, True),
        (layers.Activation("gelu"), False, False),
        (layers.ReLU(), True, True),
        (layers.ReLU(max_value=6.0), True, True),
        (layers.ReLU(negative_slope=0.1), False, False),
        (layers.Dense(6, activation=layers.ReLU(negative_slope=0.1)), False, False),
        (layers.Dense(6, activation=layers.ReLU()), True, True),
        (keras.activations.relu, True, True),
        (lambda x: keras.activations.relu(x, negative_slope=0.1), False, False),
        (lambda x: keras.activations.relu(x, threshold=-1.0), False, False),
        (layers.LeakyReLU(), False, False),
        (layers.PReLU(), False, False),
        (layers.ELU(), False, False),
        (layers.Dense(6, activation="silu"), False, False),
        (layers.Dense(6, activation="softplus"), False, True),
        (layers.Dense(6, activation="hard_swish"), True, False),
        (mk.layers.ModularActivation("relu"), True, True),
        (mk.layers.ModularActivation("sigmoid"), False, False),
    ],
)
def test_what_each_non_linearity_promises(operation, exact_zero, non_negative):
    (found,) = single(operation)
    assert found.units == 6
    assert (found.exact_zero, found.non_negative) == (exact_zero, non_negative)


def test_product_of_a_layer_with_a_gate_of_its_shape_is_a_hidden_activation():
    inputs = keras.Input((5,))
    gate = layers.Dense(6, activation="sigmoid")(inputs)
    linear = layers.BatchNormalization()(layers.Dense(6, use_bias=False)(inputs))
    units = layers.Multiply(name="units")([linear, gate])
    model = keras.Model(inputs, layers.Dense(3)(units))
    (found,) = mk.find_hidden_activations(model)
    assert (found.name, found.units) == ("units", 6)
    assert not found.exact_zero
    assert not found.non_negative


def test_recurrent_layer_is_non_negative_unless_it_mixes_in_the_state_it_begins_with():
    found = {}
    for layer in (layers.SimpleRNN, layers.LSTM, layers.GRU):
        model = sequential(layer(6, activation="relu"), layers.Dense(3), shape=(4, 5))
        (hidden_activation,) = mk.find_hidden_activations(model)
        found[layer] = hidden_activation.non_negative
    assert found == {layers.SimpleRNN: True, layers.LSTM: True, layers.GRU: False}


@keras.saving.register_keras_serializable(package="tests")
class Block(layers.Layer):
    def __init__(self, activation, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(5)
        self.nonlinearity = activation

    def build(self, input_shape):
        self.dense.build(input_shape)

    def call(self, inputs):
        return self.nonlinearity(self.dense(inputs))


class Hiding(Block):
    """Is not seen through."""


graph.keep_whole(Hiding)


def test_subclassed_layers_are_named_as_unreadable_unless_marked():
    model = sequential(
        layers.Dense(4, activation="relu"),
        Hiding(layers.ReLU(), name="hiding"),
        Block(mk.layers.ModularActivation("relu"), name="marking"),
        layers.Dense(3),
    )
    assert [layer.name for layer in graph.find_unreadable_layers(graph.trace(model))] == ["hiding"]


class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(3)

    def call(self, inputs):
        return self.dense(inputs)


def test_subclassed_model_that_was_never_called_has_no_graph():
    message = r"Expected a built model.*Received: model 'hidden' \(of type Subclassed\)"
    with pytest.raises(ValueError, match=message):
        mk.find_hidden_activations(Subclassed(name="hidden"))


def test_subclassed_model_inside_a_graph_is_seen_through():
    inputs = keras.Input((4,))
    x = layers.Dense(5, activation="relu", name="seen")(inputs)
    model = keras.Model(inputs, Subclassed(name="hiding")(x))
    assert hidden(model) == [("seen", 5)]
    traced = graph.trace(model)
    assert [step.name for step in traced.steps] == ["seen", "hiding/dense"]
    assert graph.find_unreadable_layers(traced) == []


def test_unbuilt_model_says_how_to_build_it():
    model = keras.Sequential([layers.Dense(3)], name="unbuilt")
    with pytest.raises(ValueError, match=r"'unbuilt' is not built yet. Add a `keras.Input`"):
        mk.find_hidden_activations(model)


@pytest.mark.parametrize("model", [None, "vgg", layers.Dense(3)])
def test_what_is_no_model_is_named(model):
    with pytest.raises(ValueError, match=r"`model` to be a keras.Model. Received: model="):
        mk.find_hidden_activations(model)


def test_several_outputs_are_refused_where_one_is_needed():
    inputs = keras.Input((4,))
    x = layers.Dense(5, activation="relu", name="trunk")(inputs)
    model = keras.Model(inputs, [layers.Dense(3)(x), layers.Dense(2)(x)], name="two")
    assert hidden(model) == [("trunk", 5)]
    with pytest.raises(ValueError, match=r"one output.*Received: model 'two' with 2 outputs"):
        graph.require_single_output(model)


@pytest.mark.parametrize("units", [1, 0])
def test_output_that_is_not_classes_is_refused(units):
    inputs = keras.Input((5, 4))
    outputs = layers.Dense(1)(layers.Flatten()(inputs)) if units else layers.Dense(3)(inputs)
    with pytest.raises(ValueError, match=r"\(batch, classes\) with at least 2 classes. Received"):
        graph.require_single_output(keras.Model(inputs, outputs))


def test_structure_of_inputs_and_outputs_is_kept():
    inputs = {"left": keras.Input((4,), name="left"), "right": keras.Input((4,), name="right")}
    inner = sequential(layers.Dense(5, activation="relu"))
    x = layers.Add()([inner(inputs["left"]), layers.Dense(5)(inputs["right"])])
    model = keras.Model(inputs, {"classes": layers.Dense(3)(x)})
    x = np.ones((2, 4), "float32")
    outputs = Inlined(model)({"left": x, "right": x})
    assert set(outputs) == {"classes"}
