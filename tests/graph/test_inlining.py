"""Composite layers are seen through exactly, or stay whole with a reason."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import moda_keras as mk
from moda_keras import graph


class Parts(layers.Layer):
    """A layer whose parts are built with it.

    Args:
        **parts: Layers, which become attributes.
    """

    def __init__(self, **parts):
        super().__init__(name=parts.pop("name", None))
        for key, part in parts.items():
            setattr(self, key, part)

    def build(self, input_shape):
        self.weight = self.add_weight(
            shape=(input_shape[-1],), initializer="random_normal", name="weight"
        )
        self.matrix = self.add_weight(
            shape=(input_shape[-1], 5), initializer="random_normal", name="matrix"
        )
        self.row = self.add_weight(shape=(5,), initializer="random_normal", name="row")


def kind(call, base=Parts, **attributes):
    """A class with a `call` of its own."""
    return type("Odd", (base,), {"call": call, **attributes})


def residual(self, inputs):
    return inputs + self.outer(ops.relu(self.inner(inputs)))


def by_hand(self, inputs):
    return ops.relu(ops.matmul(inputs, self.matrix) + self.row)


def in_modes(self, inputs, training=None):
    return self.drop(self.norm(self.inner(inputs), training=training), training=training)


def several(self, inputs):
    first = self.inner(inputs)
    return first * ops.mean(first, axis=-1, keepdims=True)


def twice(self, inputs):
    return self.inner(self.inner(inputs))


def dense(units=5):
    return layers.Dense(units, activation="tanh")


SEEN = {
    "residual block": lambda: kind(residual)(inner=dense(7), outer=layers.Dense(5)),
    "weight as a factor": lambda: kind(lambda s, x: x * s.weight)(),
    "weight as an offset": lambda: kind(lambda s, x: ops.relu(x) + s.weight)(),
    "weight as a divisor": lambda: kind(lambda s, x: x / (3.0 * ops.abs(x) + s.weight))(),
    "weight before a tensor": lambda: kind(lambda s, x: s.weight + ops.relu(x))(),
    "values derived from weights": lambda: kind(lambda s, x: x * ops.exp(s.weight))(),
    "dense layer by hand": lambda: kind(by_hand)(),
    "product without an offset": lambda: kind(lambda s, x: ops.tanh(x @ s.matrix))(),
    "product read twice": lambda: kind(
        lambda s, x: (lambda z: ops.relu(z) + (z + s.row))(ops.matmul(x, s.matrix))
    )(),
    "training handed on": lambda: kind(in_modes)(
        inner=dense(), norm=layers.BatchNormalization(), drop=layers.Dropout(0.5)
    ),
    "training not handed on": lambda: kind(lambda s, x: s.drop(s.norm(s.inner(x))))(
        inner=dense(), norm=layers.BatchNormalization(), drop=layers.Dropout(0.5)
    ),
    "list of layers": lambda: _with_list(),
    "operations alone": lambda: kind(lambda s, x: x * ops.sigmoid(x))(),
    "two readers": lambda: kind(several)(inner=dense()),
    "layer called twice": lambda: kind(twice)(inner=dense()),
    "nested": lambda: kind(residual, name="outside")(
        inner=kind(residual)(inner=dense(6), outer=layers.Dense(5)), outer=layers.Dense(5)
    ),
    "sequential inside": lambda: kind(lambda s, x: s.inner(x))(
        inner=keras.Sequential([keras.Input((5,)), dense(6), layers.Dense(5)])
    ),
    "passes through": lambda: kind(lambda s, x: x)(),
    "reshapes with the batch size": lambda: kind(lambda s, x: ops.reshape(x, (-1, 5)) * s.weight)(),
    "constant tensor": lambda: kind(
        lambda s, x: x * ops.convert_to_tensor(np.arange(5.0, dtype="float32"))
    )(),
    "branch on an attribute": lambda: kind(
        lambda s, x: ops.relu(x) if s.is_used else x, is_used=True
    )(),
}


def _with_list():
    made = kind(lambda s, x: s.chain[1](s.chain[0](x)))()
    made.chain = [dense(6), layers.Dense(5)]
    return made


def noise(self, inputs, training=None):
    if not training:
        return inputs
    return inputs + 1.0


def stateful(self, inputs):
    self.weight.assign(self.weight * 0.5)
    return inputs * self.weight


def fixed_mode(self, inputs):
    return self.norm(inputs, training=False)


def on_batch(self, inputs):
    size = ops.shape(inputs)[0]
    return inputs * ops.cast(int(size), "float32") if isinstance(size, int) else int(size)


def keeps(self, inputs):
    self.last = ops.relu(inputs)
    return self.last * 2.0


WHOLE = {
    "an attribute that the call sets": (
        lambda: kind(keeps)(),
        "it sets its attributes ['last'] when it is called",
    ),
    "another graph in training": (lambda: kind(noise)(), "something else in training"),
    "a state that the call changes": (lambda: kind(stateful)(), "it changes a state"),
    "a mode of its own": (
        lambda: kind(fixed_mode)(norm=layers.BatchNormalization()),
        "asks layers inside for training or inference",
    ),
    "random values": (
        lambda: kind(lambda s, x: x + keras.random.normal(ops.shape(x), seed=1))(),
        "",
    ),
    "NumPy": (
        lambda: kind(lambda s, x: x * float(np.tanh(0.3)) + 0.0 * ops.sum(x[: x.shape[0]]))(),
        None,
    ),
}


def network(layer, before=()):
    inputs = keras.Input((5,))
    x = inputs
    for each in before:
        x = each(x)
    x = layer(x)
    return keras.Model(inputs, layers.Dense(3, name="logits")(x))


def randomized(model):
    random = np.random.default_rng(0)
    for weight in model.weights:
        if "seed" in weight.path:
            continue
        values = random.normal(size=weight.shape)
        weight.assign(np.abs(values) + 0.5 if "variance" in weight.path else values)
    return model


X = np.random.default_rng(1).normal(size=(8, 5)).astype("float32")


def outputs_of(traced, x, training):
    """What a graph gives."""

    def call(step, args, kwargs):
        if graph.accepts_training(step.operation):
            kwargs = {**kwargs, "training": training}
        return step.operation(*args, **kwargs)

    values = traced.run([ops.convert_to_tensor(x)], call)
    return ops.convert_to_numpy(values[traced.outputs[0]])


@pytest.mark.parametrize("name", SEEN)
def test_layer_is_seen_through_and_gives_the_same(name):
    odd = SEEN[name]()
    model = randomized(network(odd))
    traced = graph.trace(model)
    assert traced.opaque == {}
    assert odd not in {step.operation for step in traced.steps}
    np.testing.assert_allclose(
        outputs_of(traced, X, training=False), model.predict(X, verbose=0), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("name", SEEN)
def test_composed_model_equals_the_masked_one(name):
    model = randomized(network(SEEN[name](), before=[dense(5), layers.Dense(5, "relu")]))
    random = np.random.default_rng(2)
    units = {
        each.name: random.random((3, each.units)) < 0.6
        for each in mk.find_hidden_activations(model)
    }
    modules = mk.ModuleSet.from_units(model, units)
    small, masked = mk.compose(modules, [2, 0]), mk.masked_model(modules, [2, 0])
    np.testing.assert_allclose(
        small.predict(X, verbose=0), masked.predict(X, verbose=0), rtol=1e-4, atol=1e-5
    )
    whole = mk.compose(mk.ModuleSet.from_units(model, {}), [0, 1, 2])
    np.testing.assert_allclose(
        whole.predict(X, verbose=0), model.predict(X, verbose=0), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("name", [name for name, (_, why) in WHOLE.items() if why is not None])
def test_layer_that_cannot_be_repeated_stays_whole_and_says_why(name):
    make, why = WHOLE[name]
    odd = make()
    model = randomized(network(odd))
    traced = graph.trace(model)
    assert [step.name for step in traced.steps] == [odd.name, "logits"]
    assert why in traced.opaque[odd]
    assert len(traced.opaque[odd]) > 20


@pytest.mark.parametrize("name", [*SEEN, *WHOLE])
def test_layers_are_left_as_they_were(name):
    odd = (SEEN[name] if name in SEEN else WHOLE[name][0])()
    model = randomized(network(odd))
    inside = list(odd._flatten_layers())
    names = [each.name for each in inside]
    nodes = [(len(each._inbound_nodes), len(each._outbound_nodes)) for each in inside]
    attributes = [dict(vars(each)) for each in inside]
    of_weights = [set(vars(weight)) for weight in odd.variables]
    values = [ops.convert_to_numpy(weight) for weight in model.variables]
    graph.trace(model)
    assert [each.name for each in inside] == names
    assert [(len(each._inbound_nodes), len(each._outbound_nodes)) for each in inside] == nodes
    for each, known in zip(inside, attributes, strict=True):
        assert vars(each).keys() == known.keys()
        assert [key for key, value in known.items() if vars(each)[key] is not value] == []
    assert [set(vars(weight)) for weight in odd.variables] == of_weights
    for before, weight in zip(values, model.variables, strict=True):
        np.testing.assert_array_equal(before, ops.convert_to_numpy(weight))


def test_names_are_paths_that_do_not_depend_on_what_was_made_before():
    def names():
        block = SEEN["nested"]()
        block.name = "block"
        return [each.name for each in mk.find_hidden_activations(network(block))]

    first = names()
    layers.Dense(3), layers.Dense(3), layers.Activation("relu")
    assert names() == first
    assert len(set(first)) == len(first)
    assert first[0].endswith("/inner/inner")


def test_names_given_by_the_user_are_kept():
    block = kind(residual)(inner=layers.Dense(7, "relu", name="mlp"), outer=layers.Dense(5))
    block.name = "block_0"
    found = [each.name for each in mk.find_hidden_activations(network(block))]
    assert found[0] == "block_0/mlp"


def test_modules_of_units_inside_are_saved_and_loaded(tmp_path):
    model = randomized(network(layers.Dense(5, "relu", name="a/b".replace("/", "_"))))
    block = kind(residual)(inner=layers.Dense(7, "relu", name="mlp"), outer=layers.Dense(5))
    del model
    keras.saving.get_custom_objects()["Odd"] = _Residual
    model = randomized(network(_Residual(name="block")))
    modules = mk.decompose(model, X, np.arange(8) % 3, threshold=0.5, verbose=0)
    modules.save(tmp_path / "odd.modules")
    loaded = mk.load_modules(tmp_path / "odd.modules")
    assert list(loaded.units) == ["block/mlp", "block/relu"]
    for name, units in modules.units.items():
        np.testing.assert_array_equal(loaded.units[name], units)
    del block


@keras.saving.register_keras_serializable(package="tests")
class _Residual(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.mlp = layers.Dense(7, "relu", name="mlp")
        self.back = layers.Dense(5)

    def build(self, input_shape):
        self.mlp.build(input_shape)
        self.back.build((None, 7))

    def call(self, inputs):
        return ops.relu(inputs + self.back(self.mlp(inputs)))


def test_one_whole_layer_inside_leaves_the_others_visible():
    derived = kind(noise)(name="derived")
    block = kind(lambda s, x: s.outer(s.derived(s.inner(x))), name="block")(
        inner=dense(5), derived=derived, outer=layers.Dense(5)
    )
    traced = graph.trace(randomized(network(block)))
    assert list(traced.opaque) == [derived]
    assert [step.name.rpartition("/")[2] for step in traced.steps] == [
        "inner", "derived", "outer", "logits",
    ]  # fmt: skip


def test_attributes_that_a_layer_inside_sets_are_given_back():
    keeper = kind(keeps)(name="keeper")
    block = kind(lambda s, x: s.outer(s.keeper(s.inner(x))), name="block")(
        inner=dense(5), keeper=keeper, outer=layers.Dense(5)
    )
    model = randomized(network(block))
    before = keeper.last
    traced = graph.trace(model)
    assert list(traced.opaque) == [keeper]
    assert keeper.last is before
    del keeper.last
    graph.trace(model)
    assert not hasattr(keeper, "last")


@pytest.mark.parametrize("mask_zero", [False, True])
def test_layers_behind_an_embedding_of_ones_own_are_seen_through_unless_it_sends_a_mask(mask_zero):
    class Words(layers.Layer):
        """Stays whole."""

        def __init__(self):
            super().__init__(name="words")
            self.table = layers.Embedding(9, 5, mask_zero=mask_zero)

        def build(self, input_shape):
            self.table.build(input_shape)

        def call(self, ids):
            return self.table(ids)

    graph.keep_whole(Words)
    ids = keras.Input((4,), dtype="int32")
    block = kind(residual)(inner=dense(6), outer=layers.Dense(5), name="block")
    model = keras.Model(ids, layers.Dense(3)(layers.Flatten()(block(Words()(ids)))))
    names = [step.name for step in graph.trace(model).steps]
    assert ("block/inner" in names) is not mask_zero


def test_layers_in_a_nested_model_of_a_dict_of_inputs_are_seen_through():
    names = ("a", "b")
    inside = {name: keras.Input((5,), name=name) for name in names}
    block = kind(residual)(inner=dense(6), outer=layers.Dense(5), name="block")
    nested = keras.Model(inside, block(layers.Add()([inside["a"], inside["b"]])))
    inputs = {name: keras.Input((5,), name=name) for name in names}
    model = keras.Model(inputs, layers.Dense(3)(nested(inputs)))
    assert "block/inner" in [step.name for step in graph.trace(model).steps]


def test_training_reaches_the_weights_inside():
    odd = SEEN["dense layer by hand"]()
    model = mk.ModularModel.from_model(randomized(network(odd)))
    model.compile(
        keras.optimizers.SGD(0.1),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        modular_loss=mk.MODALoss(warmup=None),
    )
    before = [ops.convert_to_numpy(weight) for weight in odd.trainable_weights]
    model.fit(X, np.arange(8) % 3, verbose=0)
    moved = [
        np.abs(ops.convert_to_numpy(weight) - old).max()
        for weight, old in zip(odd.trainable_weights, before, strict=True)
    ]
    # `matrix` and `row` are used, `weight` is not.
    assert moved[0] == 0
    assert min(moved[1:]) > 0


def test_layer_with_a_rule_of_its_own_is_not_seen_through():
    class Ruled(Parts):
        def call(self, inputs):
            return ops.relu(inputs)

    mk.slicing.register_rule(Ruled)(mk.slicing.Opaque)
    layer = Ruled()
    assert layer in {step.operation for step in graph.trace(network(layer)).steps}
