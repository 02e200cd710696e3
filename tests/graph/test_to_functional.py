"""Subclassed models as functional ones, weights shared."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import moda_keras as mk

X = np.random.default_rng(0).normal(size=(9, 5)).astype("float32")
Y = np.arange(9) % 3


class Net(keras.Model):
    """Two layers of the same name inside two blocks, a weight of its own, a mode."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden = layers.Dense(6, activation="relu")
        self.blocks = [
            keras.Sequential([layers.Dense(6, activation="relu", name="same")]) for _ in range(2)
        ]
        self.drop = layers.Dropout(0.5)
        self.head = layers.Dense(3)

    def build(self, input_shape):
        self.factor = self.add_weight(shape=(6,), initializer="random_normal", name="factor")
        self.hidden.build(input_shape)
        for block in self.blocks:
            block.build((None, 6))
        self.head.build((None, 6))

    def features(self, inputs, training):
        x = self.hidden(inputs) * self.factor
        for block in self.blocks:
            x = x + block(x)
        return self.drop(x, training=training)

    def call(self, inputs, training=None):
        return self.head(self.features(inputs, training))


class Several(Net):
    def call(self, inputs, training=None):
        x = self.features(inputs, training)
        return {"logits": self.head(x), "features": x}


class OfTwo(keras.Model):
    def __init__(self):
        super().__init__()
        self.left, self.right = layers.Dense(4, "relu"), layers.Dense(4, "relu")
        self.head = layers.Dense(3)

    def call(self, inputs):
        return self.head(self.left(inputs["a"]) + self.right(inputs["b"]))


class OfTokens(keras.Model):
    def __init__(self):
        super().__init__()
        self.table, self.head = layers.Embedding(7, 4), layers.Dense(3)

    def call(self, tokens):
        return self.head(ops.mean(ops.relu(self.table(tokens)), axis=1))


class Branching(keras.Model):
    def call(self, inputs, training=None):
        return inputs * 2.0 if training else inputs


def built(model, x=X):
    model(x)
    return model


def same(first, second):
    np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-6)


def test_outputs_and_weights_are_those_of_the_model():
    net = built(Net(name="net"))
    functional = mk.to_functional(net)
    same(functional.predict(X, verbose=0), net.predict(X, verbose=0))
    ours = {id(weight) for weight in functional.trainable_weights}
    assert ours == {id(weight) for weight in net.trainable_weights}
    assert functional.name == "net"


def test_layers_are_named_by_their_place_and_unique():
    names = [layer.name for layer in mk.to_functional(built(Net())).layers]
    assert {"hidden", "blocks_0", "blocks_1", "head"} <= set(names)
    assert len(set(names)) == len(names)


def test_the_model_is_left_as_it_was():
    net = built(Net())
    inside = list(net._flatten_layers())
    before = [(each.name, len(each._inbound_nodes), len(each._outbound_nodes)) for each in inside]
    values = net.get_weights()
    mk.to_functional(net)
    after = [(each.name, len(each._inbound_nodes), len(each._outbound_nodes)) for each in inside]
    assert after == before
    for one, other in zip(values, net.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_training_one_trains_both():
    net = built(Net())
    before = net.predict(X, verbose=0)
    model = mk.ModularModel.from_model(net)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.5), loss, modular_loss=mk.MODALoss(warmup=None))
    model.fit(X, Y, verbose=0)
    assert np.abs(net.predict(X, verbose=0) - before).max() > 1e-3
    same(model.predict(X, verbose=0), net.predict(X, verbose=0))


def test_dropout_is_active_in_training_alone():
    functional = mk.to_functional(built(Net()))
    draws = [ops.convert_to_numpy(functional(X, training=True)) for _ in range(2)]
    assert np.abs(draws[0] - draws[1]).max() > 0
    same(ops.convert_to_numpy(functional(X)), functional.predict(X, verbose=0))


def test_subclassed_model_goes_in_wherever_a_model_does():
    net = built(Net(name="net"))
    modules = mk.decompose(net, X, Y, threshold=0.5, verbose=0)
    masked = mk.masked_model(modules, [2, 0])
    same(mk.compose(modules, [2, 0]).predict(X, verbose=0), masked.predict(X, verbose=0))
    whole = mk.ModuleSet.from_units(net, {})
    same(mk.compose(whole, [0, 1, 2]).predict(X, verbose=0), net.predict(X, verbose=0))
    patched = mk.replace(net, modules[1], target_class=1)
    assert patched.output_shape == (None, 3)
    assert mk.metrics.count_flops(net) > 0
    assert [each.units for each in mk.find_hidden_activations(net)] == [6, 6, 6]


class Pixels(keras.Model):
    """Two convolutions, which MwT needs."""

    def __init__(self):
        super().__init__()
        self.first, self.second = (layers.Conv2D(4, 3, activation="relu") for _ in range(2))
        self.head = layers.Dense(3)

    def call(self, inputs):
        return self.head(ops.mean(self.second(self.first(inputs)), axis=(1, 2)))


@pytest.mark.parametrize(
    "make",
    [
        mk.methods.mwt.MwTModel.from_model,
        mk.methods.nemo.NeMoModel.from_model,
        mk.methods.baselines.scratch_model,
        lambda net: mk.compose(mk.methods.baselines.head_only(net), [0, 1, 2]),
        lambda net: mk.slicing.slice_model(net, {}, [0, 1, 2]),
    ],
    ids=["MwT", "NeMo", "scratch", "head only", "slice"],
)
def test_subclassed_model_goes_into_what_makes_models(make):
    net = built(Pixels(), np.ones((2, 7, 7, 1)))
    assert make(net).output_shape == (None, 3)


def test_functional_model_of_a_subclassed_one_is_saved_and_loaded(tmp_path):
    functional = mk.to_functional(built(Net()))
    functional.save(tmp_path / "net.keras")
    loaded = keras.saving.load_model(tmp_path / "net.keras")
    same(loaded.predict(X, verbose=0), functional.predict(X, verbose=0))


def test_one_of_several_outputs_is_chosen():
    net = built(Several())
    functional = mk.to_functional(net, output="logits")
    same(functional.predict(X, verbose=0), net.predict(X, verbose=0)["logits"])
    assert set(mk.to_functional(net).predict(X, verbose=0)) == {"logits", "features"}
    with pytest.raises(ValueError, match=r"`output` to be one of \['features', 'logits'\].*'lo'"):
        mk.to_functional(net, output="lo")
    with pytest.raises(ValueError, match="one output"):
        mk.decompose(net, X, Y, verbose=0)


def test_output_of_a_functional_model_is_chosen_by_its_index():
    inputs = keras.Input((5,))
    x = layers.Dense(4, "relu")(inputs)
    model = keras.Model(inputs, [layers.Dense(2)(x), layers.Dense(3)(x)])
    assert mk.to_functional(model, output=1).output_shape == (None, 3)
    assert mk.to_functional(model) is model
    with pytest.raises(ValueError, match=r"one of \[0, 1\]"):
        mk.to_functional(model, output=2)


def test_several_inputs_in_a_dict():
    x = {"a": X, "b": X[:, :3]}
    net = built(OfTwo(), x)
    inputs = {"a": keras.Input((5,), name="a"), "b": keras.Input((3,), name="b")}
    same(mk.to_functional(net, inputs).predict(x, verbose=0), net.predict(x, verbose=0))


def test_inputs_of_integers_are_given():
    tokens = np.arange(12).reshape(4, 3) % 7
    net = built(OfTokens(), tokens)
    functional = mk.to_functional(net, keras.Input((3,), dtype="int32"))
    same(functional.predict(tokens, verbose=0), net.predict(tokens, verbose=0))


def test_sequential_without_an_input():
    model = keras.Sequential([layers.Dense(4, "relu"), layers.Dense(3)], name="unbuilt")
    with pytest.raises(ValueError, match=r"'unbuilt' is not built yet.*inputs=keras.Input"):
        mk.to_functional(model)
    functional = mk.to_functional(model, keras.Input((5,)))
    assert [each.units for each in mk.find_hidden_activations(functional)] == [4]


def test_model_that_was_never_called_is_refused():
    with pytest.raises(
        ValueError, match=r"a built model\..*'new'.*Call it once on data, or .*inputs=keras"
    ):
        mk.to_functional(Net(name="new"))


def test_model_that_is_no_graph_says_why():
    message = r"subclassed model 'odd' \(of type Branching\).*something else in training"
    with pytest.raises(ValueError, match=message):
        mk.decompose(built(Branching(name="odd")), X, Y, verbose=0)


@pytest.mark.parametrize("model", [None, 3, layers.Dense(2)])
def test_what_is_no_model_is_refused(model):
    with pytest.raises(ValueError, match=r"`model` to be a keras.Model. Received: model="):
        mk.to_functional(model)
