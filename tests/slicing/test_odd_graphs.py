"""Graphs with branches, shared layers, nested models and layers that nobody knows."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from masking import CLASSES, check_slicing, fill_layers, randomize

import moda_keras as mk
from moda_keras.graph import keep_whole
from moda_keras.slicing import slice_model

SHAPE = (8, 8, 3)


def conv_relu(x, filters=6, size=3, **config):
    return layers.Conv2D(filters, size, activation="relu", padding="same", **config)(x)


def head(x):
    return layers.Dense(4)(layers.GlobalAveragePooling2D()(x))


def constants_into_padded_layers(x):
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", activation="relu")(
        conv_relu(x)
    )
    x = layers.SeparableConv2D(10, 3, padding="same", activation="relu")(
        layers.BatchNormalization()(x)
    )
    x = layers.BatchNormalization()(layers.ZeroPadding2D(1)(x))
    x = layers.Conv2D(6, 3, strides=2, activation="relu")(layers.ZeroPadding2D(1)(x))
    x = layers.Flatten()(layers.AveragePooling2D(2, padding="same")(x))
    return layers.Dense(4)(layers.Dense(9, activation="relu")(x))


def squeeze_and_excitation(x):
    x = layers.Conv2D(8, 3, activation="silu")(x)
    gate = layers.Reshape((1, 1, 8))(layers.GlobalAveragePooling2D()(x))
    gate = layers.Dense(8, activation="sigmoid")(layers.Dense(3, activation="relu")(gate))
    x = layers.Multiply()([x, gate]) * 2.0 + 0.5
    return head(ops.relu(layers.Conv2D(8, 3, padding="same")(x)))


def residual(x):
    x = conv_relu(x)
    y = layers.BatchNormalization()(layers.Conv2D(6, 3, padding="same")(conv_relu(x, 4)))
    return head(conv_relu(layers.ReLU()(layers.Add()([x, y]))))


def merged_constants(x):
    x, y = layers.BatchNormalization()(conv_relu(x)), layers.BatchNormalization()(conv_relu(x))
    merged = [
        layers.Add()([x, y]), layers.Subtract()([x, y]), layers.Multiply()([x, y]),
        layers.Maximum()([x, y]), layers.Minimum()([x, y]), layers.Average()([x, y]),
        x + y, x - y, x * y, ops.maximum(x, y),
    ]  # fmt: skip
    return head(conv_relu(layers.Concatenate()(merged), 5, 1))


def merged_with_one_channel(x):
    x = layers.BatchNormalization()(conv_relu(x))
    attention = layers.Conv2D(1, 3, padding="same", activation="sigmoid")(x)
    return head(layers.Add()([layers.Multiply()([x, attention]), attention]))


def dense_blocks(x):
    x = conv_relu(x)
    for _ in range(3):
        y = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.Concatenate()([x, layers.Conv2D(4, 3, padding="same")(y)])
    return head(layers.ReLU()(layers.BatchNormalization()(x)))


def concatenated_twice(x):
    x = layers.BatchNormalization()(conv_relu(x))
    x = conv_relu(layers.Concatenate()([x, x]), 5)
    return head(ops.concatenate([x, x], axis=-1))


def concatenated_in_space(x):
    x, y = conv_relu(x), conv_relu(x)
    return head(layers.Concatenate(axis=1)([x, y]))


def shared_layers(x):
    conv = layers.Conv2D(3, 3, padding="same", activation="relu")
    norm, relu = layers.BatchNormalization(), layers.ReLU()
    x = layers.Add()([norm(conv(conv(x))), norm(x)])
    return head(relu(layers.Conv2D(5, 3)(relu(layers.Conv2D(4, 3)(x)))))


def nested_models(x):
    encoder = keras.Sequential(
        [keras.Input(SHAPE), layers.Conv2D(6, 3, activation="relu"), layers.Conv2D(7, 3)]
    )
    inner = keras.Input((4, 4, 7))
    block = keras.Model(inner, layers.Add()([inner, conv_relu(inner, 7)]))
    return layers.Dense(4)(layers.Flatten()(block(layers.ReLU()(encoder(x)))))


def nested_models_with_equal_layer_names(x):
    def block(shape):
        return keras.Sequential(
            [keras.Input(shape), layers.Conv2D(6, 3, activation="relu", name="conv")]
        )

    return head(block((6, 6, 6))(block(SHAPE)(x)))


def transformer(x):
    x = layers.Reshape((4, 16))(layers.Conv2D(16, 4, strides=4)(x))
    y = layers.LayerNormalization()(x)
    x = x + layers.MultiHeadAttention(2, 8)(y, y)
    y = layers.Dense(24, activation="relu")(layers.LayerNormalization()(x))
    return layers.Dense(4)(layers.GlobalAveragePooling1D()(x + layers.Dense(16)(y)))


def opaque_operations(x):
    x = layers.Lambda(lambda t: t * t)(conv_relu(x, 8))
    x, y = ops.split(ops.transpose(x, (0, 2, 1, 3)), 2, axis=-1)
    y = layers.UnitNormalization()(conv_relu(y, 4))
    return head(conv_relu(x + y, 4, 3, groups=2))


def training_mode_fixed(x):
    x = layers.BatchNormalization()(conv_relu(x), training=False)
    return head(conv_relu(layers.Dropout(0.5)(x, training=False)))


def batch_statistics(x):
    return head(layers.BatchNormalization()(conv_relu(x), training=True))


def custom_activation(x):
    def normalized(values):
        return values / (1.0 + ops.sum(ops.abs(values), axis=-1, keepdims=True))

    x = layers.Activation(normalized)(layers.BatchNormalization()(conv_relu(x)))
    return head(layers.Conv2D(5, 1, activation=normalized)(x))


def recurrent(x):
    x = layers.Reshape((4, 6))(layers.Conv2D(6, 4, strides=4, activation="relu")(x))
    sequence, state, carry = layers.LSTM(5, return_sequences=True, return_state=True)(x)
    sequence = layers.LSTM(5)(sequence, initial_state=[state, carry])
    return layers.Dense(4)(layers.Dense(6, activation="elu")(sequence))


GRAPHS = [
    constants_into_padded_layers, squeeze_and_excitation, residual, merged_constants,
    merged_with_one_channel, dense_blocks, concatenated_twice, concatenated_in_space,
    shared_layers, nested_models, nested_models_with_equal_layer_names, transformer,
    opaque_operations, training_mode_fixed, batch_statistics, custom_activation, recurrent,
]  # fmt: skip


@pytest.mark.parametrize(("fraction", "align"), [(0.6, 1), (0.0, 1), (0.4, 4)])
@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.__name__)
def test_graph(graph, fraction, align):
    inputs = keras.Input(SHAPE)
    check_slicing(randomize(keras.Model(inputs, graph(inputs))), fraction=fraction, align=align)


def test_two_inputs():
    image, vector = keras.Input(SHAPE, name="image"), keras.Input((5,), name="vector")
    x = layers.GlobalAveragePooling2D()(conv_relu(image))
    x = layers.Concatenate()([x, layers.Dense(6, activation="relu")(vector), vector])
    model = keras.Model([image, vector], layers.Dense(4)(layers.Dense(6, activation="relu")(x)))
    sliced = check_slicing(randomize(model))
    assert [tensor.name for tensor in sliced.inputs] == ["image", "vector"]


class Scale(keras.layers.Layer):
    """Refuses `from_config`, for its config does not tell its argument."""

    def __init__(self, start, **kwargs):
        super().__init__(**kwargs)
        self.start = start

    def get_config(self):
        return {"name": self.name}

    def build(self, input_shape):
        self.factor = self.add_weight(shape=(input_shape[-1],), name="factor")

    def call(self, inputs):
        return inputs * self.factor + self.start


keep_whole(Scale)


def test_layer_with_weights_that_cannot_be_copied_is_refused():
    inputs = keras.Input(SHAPE)
    model = randomize(keras.Model(inputs, head(Scale(0.3, name="scale")(conv_relu(inputs)))))
    modules = mk.ModuleSet.from_units(model, {})
    for build in (mk.compose, mk.masked_model):
        with pytest.raises(ValueError, match="'scale' of class Scale cannot be copied"):
            build(modules, [0, 1])


@keras.saving.register_keras_serializable(package="tests")
class Offset(keras.layers.Layer):
    """Has no weights, and a config that lacks its argument."""

    def __init__(self, offset, **kwargs):
        super().__init__(**kwargs)
        self.offset = offset

    def get_config(self):
        return {"name": self.name}

    def call(self, inputs):
        return inputs + self.offset


keep_whole(Offset)


@pytest.mark.parametrize(
    "make", [lambda: Offset(0.3, name="odd"), lambda: layers.Lambda(lambda x: x * 2, name="odd")]
)
def test_layer_without_weights_that_cannot_be_made_from_its_config(make):
    inputs = keras.Input(SHAPE)
    odd = make()
    model = randomize(keras.Model(inputs, head(odd(conv_relu(inputs)))))
    modules = mk.ModuleSet.from_units(model, {})
    x = np.random.default_rng(0).normal(size=(2, *SHAPE)).astype("float32")
    small = mk.compose(modules, [3, 0])
    np.testing.assert_allclose(
        small.predict(x, verbose=0), model.predict(x, verbose=0)[:, [3, 0]], rtol=1e-5
    )
    assert small.get_layer("odd") is not odd
    assert len(odd._inbound_nodes) == 1


TEXTS = np.array(["a b c", "b c", "c", "a a"], dtype=object)
NUMBERS = np.array([[7, 3], [3, 3], [5, 7], [9, 5]])
VOCABULARIES = {
    "numbers": (lambda: layers.IntegerLookup(output_mode="count"), NUMBERS),
    "strings": (lambda: layers.StringLookup(output_mode="multi_hot"), TEXTS[:, None]),
    "words": (lambda: layers.TextVectorization(output_sequence_length=3), TEXTS),
    "frequencies": (lambda: layers.TextVectorization(output_mode="tf_idf"), TEXTS),
}
if keras.backend.backend() != "tensorflow":  # only TensorFlow has tensors of strings
    VOCABULARIES = {"numbers": VOCABULARIES["numbers"]}


@pytest.mark.parametrize("kind", VOCABULARIES)
def test_adapted_vocabulary_is_copied(kind, tmp_path):
    make, data = VOCABULARIES[kind]
    lookup = make()
    lookup.adapt(data)
    inputs = keras.Input(data.shape[1:], dtype="string" if data.dtype == object else "int64")
    x = keras.ops.cast(lookup(inputs), "float32")
    x = layers.Dense(6, activation="relu", name="units")(x)
    model = randomize(keras.Model(inputs, layers.Dense(4)(x)))
    modules = mk.ModuleSet.from_units(model, {"units": np.arange(24).reshape(4, 6) % 2 == 0})
    data = keras.ops.convert_to_tensor(data)

    def outputs(built):
        return keras.ops.convert_to_numpy(built(data))

    composed, masked = (build(modules, [1, 3]) for build in (mk.compose, mk.masked_model))
    expected = outputs(masked)
    assert np.ptp(expected, axis=0).min() > 0
    np.testing.assert_allclose(outputs(composed), expected, rtol=1e-5)
    composed.save(tmp_path / "small.keras")
    loaded = keras.saving.load_model(tmp_path / "small.keras")
    np.testing.assert_allclose(outputs(loaded), expected, rtol=1e-5)
    patched = mk.replace(model, modules[3], target_class=0)
    np.testing.assert_allclose(outputs(patched)[:, 1:], outputs(model)[:, 1:], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(outputs(patched)[:, 0], expected[:, 1], rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="a layer of PyTorch")
def test_torch_module_is_copied_with_weights_of_its_own():
    import torch

    inputs = keras.Input((5,))
    wrapped = layers.TorchModuleWrapper(torch.nn.Linear(5, 6), output_shape=(None, 6))
    x = layers.Dense(6, activation="relu", name="units")(wrapped(inputs))
    model = keras.Model(inputs, layers.Dense(4)(x))
    modules = mk.ModuleSet.from_units(model, {"units": np.arange(24).reshape(4, 6) % 2 == 0})
    x = np.random.default_rng(0).normal(size=(3, 5)).astype("float32")
    composed, masked = (build(modules, [1, 3]) for build in (mk.compose, mk.masked_model))
    np.testing.assert_allclose(
        composed.predict(x, verbose=0), masked.predict(x, verbose=0), rtol=1e-4, atol=1e-6
    )
    before = model.predict(x, verbose=0)
    for built in (composed, masked):
        for weight in built.weights:
            weight.assign(weight + 1.0)
    np.testing.assert_array_equal(model.predict(x, verbose=0), before)


class DoubleDense(keras.layers.Dense):
    def call(self, inputs):
        return 2.0 * super().call(inputs / ops.sum(ops.abs(inputs), axis=-1, keepdims=True))


def test_subclass_with_its_own_call_is_not_taken_for_its_base_class():
    inputs = keras.Input((5,))
    x = DoubleDense(6)(layers.Dense(6, activation="relu", name="units")(inputs) + 0.1)
    check_slicing(randomize(keras.Model(inputs, layers.Dense(4)(x))))


def test_infinite_values_of_a_masked_channel_do_not_spread():
    inputs = keras.Input((3,))
    x = layers.UnitNormalization()(layers.Activation("relu", name="units")(inputs) + 0.0)
    model = randomize(keras.Model(inputs, layers.Dense(4)(x)))
    sliced = slice_model(model, {"units": np.array([False, True, True])}, np.array(CLASSES))
    values = sliced(np.array([[np.inf, 1.0, 2.0]], "float32"), training=False)
    assert np.isfinite(keras.ops.convert_to_numpy(values)).all()


@pytest.mark.parametrize("graph", [residual, dense_blocks], ids=lambda graph: graph.__name__)
def test_nothing_is_filled_if_all_units_stay(graph):
    inputs = keras.Input(SHAPE)
    model = randomize(keras.Model(inputs, graph(inputs)))
    assert fill_layers(check_slicing(model, units={})) == []
