"""What a layer holds beside its weights and its config, and weights that are not its own."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from masking import randomize
from small_models import inputs_of, random_modules

import moda_keras as mk
from moda_keras.graph import keep_whole


class Scaled(layers.Layer):
    """A factor that is set after construction."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.factor = 1.0

    def call(self, inputs):
        return inputs * self.factor


class Weighted(Scaled):
    def build(self, input_shape):
        self.width = input_shape[-1]
        self.scale = self.add_weight(shape=(self.width,), name="scale")

    def call(self, inputs):
        return super().call(inputs) * self.scale


class Forgetful(Weighted):
    """Its config does not tell an argument."""

    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor


class Table(layers.Layer):
    """Data that it saves in a way of its own."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.table, self.words = np.zeros(6, "float32"), {}

    def save_own_variables(self, store):
        store["table"] = self.table

    def call(self, inputs):
        return inputs + ops.convert_to_tensor(self.table) * len(self.words)


class Outer(layers.Layer):
    """A layer with an inner one, which has the state."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = Weighted(name="inner")

    def build(self, input_shape):
        self.inner.build(input_shape)

    def call(self, inputs):
        return self.inner(inputs)


def network(*of_layers):
    return randomize(
        keras.Sequential(
            [
                keras.Input((4,)),
                layers.Dense(6, activation="relu", name="first"),
                *of_layers,
                layers.Dense(3, name="logits"),
            ]
        )
    )


def factor_of_three(layer):
    layer.factor = 3.0
    return layer


def filled_table():
    layer = Table()
    layer.table, layer.words = np.arange(6, dtype="float32"), {"ant": 1, "bee": 2}
    return layer


def factor_of_inner():
    layer = Outer()
    layer.inner.factor = 3.0
    return layer


@pytest.mark.parametrize(
    "make",
    [
        lambda: factor_of_three(Scaled()),
        lambda: factor_of_three(Weighted()),
        lambda: Forgetful(3.0),
        filled_table,
        factor_of_inner,
    ],
    ids=["no weights", "weights", "forgotten argument", "arrays and dicts", "inner layer"],
)
@pytest.mark.filterwarnings("ignore:No slicing rule")
def test_copies_have_the_state_of_the_original(make):
    model = network(make())
    x = inputs_of(model, 5)
    whole = mk.ModuleSet.from_units(model, {})
    expected = model.predict(x, verbose=0)
    for build in (mk.compose, mk.masked_model):
        received = build(whole, [0, 1, 2]).predict(x, verbose=0)
        np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-5)
    modules = random_modules(model)
    np.testing.assert_allclose(
        mk.compose(modules, [2, 0]).predict(x, verbose=0),
        mk.masked_model(modules, [2, 0]).predict(x, verbose=0),
        rtol=1e-4,
        atol=1e-5,
    )


class WholeTable(Table):
    """Is not seen through."""


keep_whole(WholeTable)


def test_copy_does_not_share_arrays():
    layer = WholeTable()
    layer.table, layer.words = np.arange(6, dtype="float32"), {}
    model = network(layer)
    with pytest.warns(UserWarning, match="No slicing rule"):
        small = mk.compose(random_modules(model), [0, 1])
    copy = next(layer for layer in small.layers if isinstance(layer, Table))
    copy.table[:] = -1
    np.testing.assert_array_equal(model.layers[1].table, np.arange(6))


def test_sliced_layer_keeps_what_its_build_has_decided():
    @mk.slicing.register_rule(Weighted)
    class WeightedRule(mk.slicing.Rule):
        def needs(self, step, needed):
            return [needed]

        def slice(self, step, inputs, wanted):
            source = inputs[0].only(wanted)
            scale = ops.convert_to_numpy(step.operation.scale) * step.operation.factor
            return mk.slicing.Slice(
                inputs=[source],
                output=mk.slicing.Channels(source.kept, source.const * scale),
                weights={"scale": mk.slicing.WeightSlice({0: source.kept})},
            )

    try:
        model = network(factor_of_three(Weighted(name="scaled")))
        modules = random_modules(model)
        small = mk.compose(modules, [0])
    finally:
        from moda_keras.slicing import registry

        del registry._RULES[Weighted]
    layer = small.get_layer("scaled")
    assert layer.width == modules.units["first"][0].sum() < 6
    assert layer.factor == 3.0


class TiedToAnother(layers.Dense):
    """Its kernel is that of a layer which its config does not name."""

    source = None

    def build(self, input_shape):
        self._kernel = TiedToAnother.source._kernel
        self.bias = self.add_weight(shape=(self.units,), name="bias")


def test_copy_with_weights_of_the_original_is_refused():
    TiedToAnother.source = layers.Dense(6, activation="relu", name="first")
    inputs = keras.Input((6,))
    x = TiedToAnother(6, activation="relu", name="second")(TiedToAnother.source(inputs))
    model = randomize(keras.Model(inputs, layers.Dense(3)(x)))
    before = model.get_weights()
    modules = mk.ModuleSet.from_units(model, {})
    with pytest.raises(ValueError, match="its copy has the same weights"):
        mk.compose(modules, [0, 1])
    with pytest.raises(ValueError, match="its copy has the same weights"):
        mk.masked_model(modules, [0, 1])
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_weights_that_the_config_does_not_know_are_refused():
    model = network(layers.Dense(5, activation="tanh", name="changed"))
    layer = model.get_layer("changed")
    layer.use_bias, layer.bias = False, None
    with pytest.raises(ValueError, match=r"'changed' of class Dense cannot be copied.*\(6, 5\)\]"):
        mk.compose(mk.ModuleSet.from_units(model, {}), [0, 1])


class OfFixedWidth(layers.Dense):
    """Its constructor decides the width, and its config does not tell it."""

    def __init__(self, **kwargs):
        super().__init__(5, **kwargs)

    def get_config(self):
        config = super().get_config()
        del config["units"]
        return config


def test_layer_whose_width_is_fixed_stays_whole():
    model = network(OfFixedWidth(activation="relu", name="fixed"))
    modules, x = random_modules(model), inputs_of(model, 5)
    small = mk.compose(modules, [1, 0])
    assert small.get_layer("fixed").kernel.shape == (6, 5)
    np.testing.assert_allclose(
        small.predict(x, verbose=0),
        mk.masked_model(modules, [1, 0]).predict(x, verbose=0),
        rtol=1e-4,
        atol=1e-5,
    )
