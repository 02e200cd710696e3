"""Calls that name a batch size or a length, or look up constants: as in vision transformers."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import moda_keras as mk
from moda_keras import graph
from moda_keras.layers import FirstRows, OverBatch, Parameter

ROWS, WIDTH, LENGTH = 9, 4, 6


class Held(layers.Layer):
    """A layer with weights, constants and a layer inside."""

    def __init__(self):
        super().__init__()
        self.table = layers.Embedding(LENGTH, WIDTH)
        self.ids = ops.expand_dims(ops.arange(LENGTH), 0)

    def build(self, input_shape):
        def weight(name, *shape):
            return self.add_weight(shape=shape, initializer="random_normal", name=name)

        self.token = weight("token", 1, 1, WIDTH)
        self.rows = weight("rows", ROWS, WIDTH)
        self.factor = weight("factor")
        self.offset = weight("offset")
        self.table.build((1, LENGTH))
        self.built = True

    def compute_output_shape(self, shape, *others):
        return shape


def kind(call, base=Held, **attributes):
    """A class with a `call` of its own."""
    return type("Odd", (base,), {"call": call, **attributes})


def batch(x):
    return ops.shape(x)[0]


def class_token(self, x):
    return ops.concatenate([ops.tile(self.token, (batch(x), 1, 1)), x], axis=1)


def heads(self, x):
    sizes = ops.shape(x)
    split = ops.reshape(x, (sizes[0], sizes[1], 2, WIDTH // 2))
    return ops.reshape(ops.flip(split, axis=3), (sizes[0], sizes[1], WIDTH))


def positions(self, x):
    sizes = ops.shape(x)
    rows = ops.slice(ops.convert_to_tensor(self.rows), (0, 0), (sizes[1], sizes[2]))
    return x * ops.broadcast_to(rows, sizes)


def squeeze(self, x):
    mean = layers.Reshape((1, WIDTH))(layers.GlobalAveragePooling1D()(x))
    return layers.Add()([layers.Multiply()([x, mean]), x])


def repeated(self, x):
    rows = ops.expand_dims(ops.convert_to_tensor(self.rows), 0)[:, :1]
    return x * ops.repeat(rows, batch(x), axis=0)


SEEN = {
    "class token": lambda: kind(
        class_token, compute_output_shape=lambda s, x: (x[0], x[1] and x[1] + 1, x[2])
    )(),
    "repeated rows": lambda: kind(repeated)(),
    "broadcast to a shape": lambda: kind(
        lambda s, x: x * ops.broadcast_to(s.token, (batch(x), 1, WIDTH))
    )(),
    "positions looked up": lambda: kind(lambda s, x: x * s.table(s.ids))(),
    "heads": lambda: kind(heads)(),
    "positions": lambda: kind(positions)(),
    "factor and offset": lambda: kind(lambda s, x: s.factor * x + s.offset)(),
    "layers made in the call": lambda: kind(squeeze)(),
    "constant of the layer": lambda: kind(
        lambda s, x: x * ops.cast(ops.transpose(s.ids + 1), x.dtype)
    )(),
}


def network(layer, length=LENGTH):
    inputs = keras.Input((length, WIDTH))
    x = layers.Dense(WIDTH, activation="relu", name="before")(inputs)
    x = layers.Dense(WIDTH, activation="tanh", name="after")(layer(x))
    x = layers.GlobalMaxPooling1D()(x)
    return randomized(keras.Model(inputs, layers.Dense(3, name="logits")(x)))


def randomized(model):
    random = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(random.normal(size=weight.shape))
    return model


def data(samples, length=LENGTH):
    return np.random.default_rng(1).normal(size=(samples, length, WIDTH)).astype("float32")


def half(model):
    random = np.random.default_rng(2)
    units = {
        each.name: np.tile(random.permutation(each.units) < each.units / 2, (3, 1))
        for each in mk.find_hidden_activations(model)
    }
    return mk.ModuleSet.from_units(model, units)


OF_ANY_LENGTH = ["class token", "heads", "positions", "factor and offset"]


@pytest.mark.parametrize("samples", [1, 5])
@pytest.mark.parametrize(
    ("name", "length"),
    [*((name, LENGTH) for name in SEEN), *((name, None) for name in OF_ANY_LENGTH)],
)
def test_composed_model_equals_the_masked_one_for_any_size(name, length, samples):
    odd = SEEN[name]()
    model = network(odd, length)
    assert graph.trace(model).opaque == {}
    modules = half(model)
    x = data(samples)
    small, masked = mk.compose(modules, [2, 0]), mk.masked_model(modules, [2, 0])
    expected = masked.predict(x, verbose=0)
    np.testing.assert_allclose(small.predict(x, verbose=0), expected, rtol=1e-4, atol=1e-5)
    whole = mk.compose(mk.ModuleSet.from_units(model, {}), [0, 1, 2])
    np.testing.assert_allclose(
        whole.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-4, atol=1e-5
    )
    assert not any(isinstance(layer, Held) for layer in small._flatten_layers())


@pytest.mark.parametrize("name", SEEN)
def test_layer_is_left_as_it_was(name):
    odd = SEEN[name]()
    model = network(odd)
    before = dict(vars(odd))
    graph.trace(model)
    assert vars(odd).keys() == before.keys()
    assert all(vars(odd)[key] is value for key, value in before.items())


@pytest.mark.parametrize("length", [2, 8])
def test_positions_follow_the_length_of_the_text(length):
    model = network(SEEN["positions"](), None)
    modules = half(model)
    small, masked = mk.compose(modules, [1, 2]), mk.masked_model(modules, [1, 2])
    x = data(3, length)
    np.testing.assert_allclose(
        small.predict(x, verbose=0), masked.predict(x, verbose=0), rtol=1e-4, atol=1e-5
    )


def test_repeated_values_are_cut_with_the_channels_that_they_meet():
    model = network(SEEN["positions"](), None)
    small = mk.compose(half(model), [0, 1])
    (rows,) = [layer for layer in small.layers if isinstance(layer, Parameter)]
    assert tuple(rows.value.shape) == (ROWS, WIDTH // 2)
    assert {FirstRows, OverBatch} <= {type(layer) for layer in small.layers}


def test_composed_model_is_saved_and_loaded(tmp_path):
    model = network(SEEN["positions"](), None)
    small = mk.compose(half(model), [0, 1])
    small.save(tmp_path / "small.keras")
    loaded = keras.models.load_model(tmp_path / "small.keras")
    x = data(3)
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), small.predict(x, verbose=0))


def merged(self, x):
    return ops.reshape(ops.reshape(x, (batch(x) * LENGTH, WIDTH)) * 2.0, (-1, LENGTH, WIDTH))


def counted(self, x):
    return x * ops.cast(ops.arange(batch(x)), x.dtype)[:, None, None]


WHOLE = {
    "batch in another axis": (merged, LENGTH),
    "a value for each sample": (counted, LENGTH),
    "operation that needs the length": (
        lambda s, x: ops.fft2((ops.cast(x, "float32"), ops.zeros_like(x)))[0],
        None,
    ),
    "values for each length": (
        lambda s, x: x * ops.expand_dims(ops.cast(ops.arange(ops.shape(x)[1]), x.dtype), 1),
        None,
    ),
}


@pytest.mark.parametrize("name", WHOLE)
def test_layer_that_depends_on_a_size_stays_whole(name):
    call, length = WHOLE[name]
    odd = kind(call)()
    traced = graph.trace(network(odd, length))
    assert list(traced.opaque) == [odd]


def test_positions_of_one_of_two_lengths_stay_whole():
    def call(self, x, other):
        sizes = ops.shape(x)
        return x * ops.slice(self.rows, (0, 0), (sizes[1], sizes[2])) + ops.sum(other)

    odd = kind(call)()
    inputs = [keras.Input((None, WIDTH)), keras.Input((None, WIDTH))]
    x = layers.GlobalMaxPooling1D()(odd(*inputs))
    assert odd in graph.trace(keras.Model(inputs, layers.Dense(3)(x))).opaque


def test_rows_of_a_weight_taken_by_indices_are_an_embedding():
    class Tokens(layers.Layer):
        def build(self, input_shape):
            self.vectors = self.add_weight(shape=(ROWS, WIDTH), name="vectors")

        def call(self, ids):
            return ops.take(self.vectors, ids, axis=0)

    tokens = Tokens(name="tokens")
    ids = keras.Input((LENGTH,), dtype="int32")
    x = layers.Dense(5, activation="relu", name="hidden")(tokens(ids))
    model = keras.Model(ids, layers.Dense(3)(layers.GlobalMaxPooling1D()(x)))
    step = graph.trace(model).steps[0]
    assert type(step.operation) is layers.Embedding
    assert step.operation.weights == [tokens.vectors]
    x = np.random.default_rng(0).integers(0, ROWS, (4, LENGTH))
    modules = half(model)
    small, masked = mk.compose(modules, [0, 1]), mk.masked_model(modules, [0, 1])
    np.testing.assert_allclose(
        small.predict(x, verbose=0), masked.predict(x, verbose=0), rtol=1e-4, atol=1e-5
    )


def test_rare_random_path_does_not_hide_a_layer():
    class Path(Held):
        def __init__(self):
            super().__init__()
            self.inner = layers.Dense(WIDTH)
            self.drop = Rare()

        def build(self, input_shape):
            self.inner.build(input_shape)
            super().build(input_shape)

        def call(self, x, training=None):
            return x + self.drop(ops.relu(self.inner(x)), training=training)

    traced = graph.trace(network(Path()))
    assert [type(layer) for layer in traced.opaque] == [Rare]


class Rare(layers.Layer):
    """Draws random numbers that hardly ever change the outputs."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seed = keras.random.SeedGenerator(0)

    def compute_output_shape(self, shape):
        return shape

    def call(self, x, training=None):
        if not training:
            return x
        kept = keras.random.uniform((1, 1, 1), seed=self.seed) > 1e-9
        return x * ops.cast(kept, x.dtype) / 0.5


def test_reshape_that_makes_samples_of_windows_stays_whole():
    inputs = keras.Input((4, WIDTH))
    x = layers.Dense(WIDTH, activation="relu", name="hidden")(inputs)
    x = ops.reshape(ops.reshape(x, (-1, 2, WIDTH)) * 2.0, (-1, 4, WIDTH))
    model = randomized(keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x))))
    modules = half(model)
    small, masked = mk.compose(modules, [0, 1]), mk.masked_model(modules, [0, 1])
    x = data(5, 4)
    np.testing.assert_allclose(
        small.predict(x, verbose=0), masked.predict(x, verbose=0), rtol=1e-4, atol=1e-5
    )


def test_identity_with_a_policy_object_is_saved(tmp_path):
    inputs = keras.Input((WIDTH,))
    x = layers.Identity(dtype=keras.DTypePolicy("float32"))(layers.Dense(8, "relu")(inputs))
    model = keras.Model(inputs, layers.Dense(3)(x))
    small = mk.compose(half(model), [0, 1])
    small.save(tmp_path / "small.keras")
    keras.models.load_model(tmp_path / "small.keras")
