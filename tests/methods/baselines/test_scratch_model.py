"""Fresh models: the same architecture, other weights, nothing shared."""

import random

import keras
import numpy as np
import pytest
from keras import layers
from small_models import cnn, inputs_of, mlp, random_modules

import moda_keras as mk
from moda_keras.methods import baselines


def composed():
    return mk.compose(random_modules(cnn()), [3, 1])


def sequence_model():
    """Layers with several weights of one initializer: attention, and two directions."""
    inputs = keras.Input((5, 4))
    x = layers.MultiHeadAttention(2, 3, name="attention")(inputs, inputs)
    x = layers.Bidirectional(layers.GRU(3), name="both")(x)
    x = layers.BatchNormalization(name="bn")(x)
    return keras.Model(inputs, layers.Dense(2, name="logits")(x), name="sequence")


def kernels(model):
    """Copies of the weights that are drawn at random."""
    drawn = ("kernel", "embeddings")
    return [
        np.array(keras.ops.convert_to_numpy(w)) for w in model.weights if w.name.endswith(drawn)
    ]


@pytest.mark.parametrize("build", [mlp, composed, sequence_model])
def test_architecture_is_the_same_and_every_weight_is_drawn_again(build):
    small = build()
    before = [np.array(value) for value in small.get_weights()]
    fresh = baselines.scratch_model(small, seed=0)
    assert [tuple(w.shape) for w in fresh.weights] == [tuple(w.shape) for w in small.weights]
    assert [type(each) for each in fresh.layers if each.weights] == [
        type(each) for each in small.layers if each.weights
    ]
    assert not {id(w) for w in fresh.weights} & {id(w) for w in small.weights}
    for ours, theirs in zip(kernels(fresh), kernels(small), strict=True):
        assert np.ptp(ours) > 0
        assert not np.isclose(ours, theirs).any()
    for weight in fresh.weights:
        weight.assign(weight + 1)
    for value, weight in zip(before, small.get_weights(), strict=True):
        np.testing.assert_array_equal(value, weight)


def test_weights_without_a_random_initializer_start_as_in_a_new_layer():
    small = sequence_model()
    bn = small.get_layer("bn")
    bn.set_weights([np.full(6, 7.0)] * 4)
    bias = small.get_layer("logits").bias
    bias.assign(bias + 1)
    fresh = baselines.scratch_model(small)
    expected = [np.ones(6), np.zeros(6), np.zeros(6), np.ones(6)]
    for value, new in zip(fresh.get_layer("bn").get_weights(), expected, strict=True):
        np.testing.assert_array_equal(value, new)
    assert (keras.ops.convert_to_numpy(fresh.get_layer("logits").bias) == 0).all()


def test_seed_decides_the_weights_and_nothing_else():
    small = sequence_model()
    random.seed(5)
    expected = random.random()
    random.seed(5)
    first, again, other = (baselines.scratch_model(small, seed=each) for each in (1, 1, 2))
    assert random.random() == expected
    for a, b, c in zip(kernels(first), kernels(again), kernels(other), strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.isclose(a, c).any()
    unseeded = (kernels(baselines.scratch_model(small))[0] for _ in range(2))
    assert not np.isclose(*unseeded).any()


def test_weights_of_one_layer_differ():
    attention, *_ = baselines.scratch_model(sequence_model(), seed=0).layers[1:]
    query, key = (
        keras.ops.convert_to_numpy(each.kernel)
        for each in (attention.query_dense, attention.key_dense)
    )
    assert not np.isclose(query, key).any()
    both = baselines.scratch_model(sequence_model(), seed=0).get_layer("both")
    forward, backward = (
        keras.ops.convert_to_numpy(each.cell.kernel)
        for each in (both.forward_layer, both.backward_layer)
    )
    assert not np.isclose(forward, backward).any()


def test_seed_of_an_initializer_is_overruled():
    fixed = layers.Dense(3, kernel_initializer=keras.initializers.HeNormal(seed=3))
    small = keras.Sequential([keras.Input((4,)), fixed])
    first, second = (kernels(baselines.scratch_model(small, seed=each))[0] for each in (0, 1))
    assert not np.isclose(first, kernels(small)[0]).any()
    assert not np.isclose(first, second).any()


def test_state_of_layers_adapted_to_data_stays():
    normalization = layers.Normalization()
    normalization.adapt(np.array([[1.0, 10.0], [3.0, 30.0]]))
    lookup = layers.StringLookup(vocabulary=["cat", "dog"])
    numbers, words = keras.Input((2,)), keras.Input((1,), dtype="string")
    x = layers.Concatenate()(
        [normalization(numbers), layers.Flatten()(layers.Embedding(3, 2)(lookup(words)))]
    )
    if keras.backend.backend() != "tensorflow":  # strings are tensors there alone
        small = keras.Model(numbers, layers.Dense(2)(normalization(numbers)))
    else:
        small = keras.Model([numbers, words], layers.Dense(2)(x))
        fresh = baselines.scratch_model(small, seed=0)
        (copy,) = [each for each in fresh.layers if isinstance(each, layers.StringLookup)]
        assert copy.get_vocabulary() == lookup.get_vocabulary()
    fresh = baselines.scratch_model(small, seed=0)
    (copy,) = [each for each in fresh.layers if isinstance(each, layers.Normalization)]
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(copy(np.array([[3.0, 30.0]]))), [[1.0, 1.0]], rtol=1e-5
    )


def test_nested_and_shared_layers_are_made_once_each():
    shared = layers.Dense(4, name="shared")
    inner = keras.Sequential([keras.Input((4,)), shared, layers.ReLU()], name="inner")
    inputs = keras.Input((4,))
    small = keras.Model(inputs, layers.Dense(2)(inner(inner(inputs))))
    fresh = baselines.scratch_model(small, seed=0)
    assert fresh.count_params() == small.count_params()
    assert not {id(w) for w in fresh.weights} & {id(w) for w in small.weights}


def test_several_inputs_keep_their_structure():
    inputs = {"a": keras.Input((2,), name="a"), "b": keras.Input((3,), name="b")}
    small = keras.Model(inputs, layers.Dense(2)(layers.Concatenate()(list(inputs.values()))))
    fresh = baselines.scratch_model(small, seed=0)
    assert fresh({"a": np.ones((4, 2)), "b": np.ones((4, 3))}).shape == (4, 2)


def test_frozen_layers_learn():
    small = mlp()
    small.get_layer("first").trainable = False
    fresh = baselines.scratch_model(small, seed=0)
    assert not fresh.compiled
    fresh.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = kernels(fresh)
    fresh.fit(inputs_of(fresh, 16), np.arange(16) % 3, verbose=0)
    assert all((a != b).any() for a, b in zip(before, kernels(fresh), strict=True))
    assert not small.get_layer("first").trainable


def test_frozen_layers_inside_others_learn():
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4)])
    wrapped = layers.TimeDistributed(layers.Dense(4))
    inputs = keras.Input((3, 4))
    x = layers.GlobalAveragePooling1D()(wrapped(inputs))
    small = keras.Model(inputs, layers.Dense(2)(inner(x)))
    wrapped.layer.trainable = False
    inner.trainable = False
    for layer in inner.layers:
        layer.trainable = False
    assert len(baselines.scratch_model(small).trainable_weights) == 6


def test_compiled_model_gives_one_that_is_not():
    small = mlp()
    small.compile("sgd", "mse")
    assert not baselines.scratch_model(small).compiled


@pytest.mark.parametrize("seed", [-1, 1.5, True, "0"])
def test_wrong_seed_is_named(seed):
    with pytest.raises(ValueError, match=r"Expected `seed`.*Received: seed="):
        baselines.scratch_model(mlp(), seed=seed)


def test_models_without_graph_are_refused():
    class Subclassed(keras.Model):
        def call(self, x):
            return x

    for model in (Subclassed(), keras.Sequential([layers.Dense(2)]), "model", None):
        with pytest.raises(ValueError, match=r"Functional|keras.Model|built"):
            baselines.scratch_model(model)


def test_quantized_layers_are_refused():
    small = mlp()
    small.quantize("int8")
    with pytest.raises(ValueError, match=r"quantized or LoRA.*'first'"):
        baselines.scratch_model(small)


def test_layer_without_config_is_named():
    class Scale(layers.Layer):
        def __init__(self, factor, **kwargs):
            super().__init__(**kwargs)
            self.factor = self.add_weight(shape=(), name="factor")

        def call(self, x):
            return x * self.factor

        def get_config(self):
            return super().get_config()

    inputs = keras.Input((4,))
    small = keras.Model(inputs, layers.Dense(2)(Scale(2.0, name="scale")(inputs)))
    with pytest.raises(ValueError, match="Layer 'scale' of class Scale cannot be made anew"):
        baselines.scratch_model(small)


def test_layer_whose_copy_would_share_weights_is_refused():
    held = keras.Variable(np.ones(4, "float32"), name="held")

    class Holds(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.factor = held

        def call(self, x):
            return x * self.factor

    inputs = keras.Input((4,))
    small = keras.Model(inputs, layers.Dense(2)(Holds()(inputs)))
    with pytest.raises(ValueError, match="must not share weights"):
        baselines.scratch_model(small)
