"""Classes that change only how one of Keras's layers is constructed."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers
from masking import randomize
from small_models import inputs_of, random_modules

import moda_keras as mk
from moda_keras.graph import plain_class


class WithoutGroups(layers.DepthwiseConv2D):
    """What users load old files with."""

    def __init__(self, *args, groups=1, **kwargs):
        super().__init__(*args, **kwargs)


class ByConfig(layers.DepthwiseConv2D):
    @classmethod
    def from_config(cls, config):
        return super().from_config({k: v for k, v in config.items() if k != "groups"})


class WithNote(layers.DepthwiseConv2D):
    def __init__(self, *args, groups=1, **kwargs):
        super().__init__(*args, **kwargs)
        self.groups = groups

    def get_config(self):
        return {**super().get_config(), "groups": self.groups}


class Derived(WithoutGroups):
    pass


class OtherActivation(layers.DepthwiseConv2D):
    """Its own config does not tell what it does, Keras's does."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.activation = keras.activations.tanh

    def get_config(self):
        return {**super().get_config(), "activation": "relu"}


class OwnCall(WithoutGroups):
    def call(self, inputs):
        return 2 * super().call(inputs)


class OwnBuild(WithoutGroups):
    def build(self, input_shape):
        super().build(input_shape)


class CallOfInstance(layers.DepthwiseConv2D):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        inner = self.call
        self.call = lambda inputs: 2 * inner(inputs)


class Factor:
    def __call__(self, inputs):
        return 3 * super().__call__(inputs)


class MixedIn(Factor, layers.DepthwiseConv2D):
    pass


class NoAutocast(layers.DepthwiseConv2D):
    """No config tells what it does."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.autocast = False


class BuiltInConstructor(layers.DepthwiseConv2D):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.inner = layers.Dense(2)


@pytest.mark.parametrize("cls", [WithoutGroups, ByConfig, WithNote, Derived, OtherActivation])
def test_class_that_only_constructs_is_plain(cls):
    assert plain_class(cls(3, padding="same", activation="relu")) is layers.DepthwiseConv2D


@pytest.mark.parametrize(
    "cls",
    [
        OwnCall,
        OwnBuild,
        CallOfInstance,
        MixedIn,
        BuiltInConstructor,
        NoAutocast,
    ],
)
def test_class_that_may_act_differently_is_not(cls):
    assert plain_class(cls(3, padding="valid", activation="relu")) is cls


@pytest.mark.parametrize(
    ("base", "arguments"),
    [
        (layers.LSTM, (4,)),
        (layers.Dropout, (0.5,)),
        (layers.BatchNormalization, ()),
        (layers.MultiHeadAttention, (2, 2)),
        (layers.ReLU, ()),
        (layers.Embedding, (5, 4)),
    ],
)
def test_any_layer_of_keras_can_be_the_base(base, arguments):
    class Named(base):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)

    class Noted(base):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.supports_masking = not self.supports_masking

    assert plain_class(Named(*arguments)) is base
    assert plain_class(Noted(*arguments)) is Noted


def mobile(cls, **settings):
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(5, 3, activation="relu", name="first")(inputs)
    x = cls(2, activation="relu", name="depthwise", **settings)(x)
    x = layers.GlobalAveragePooling2D()(x)
    return randomize(keras.Model(inputs, layers.Dense(3, name="logits")(x)))


@pytest.mark.parametrize("cls", [WithoutGroups, OtherActivation])
def test_composed_model_is_plain_keras(cls, tmp_path):
    model = mobile(cls)
    modules = random_modules(model)
    x = inputs_of(model, 5)
    whole = mk.masked_model(mk.ModuleSet.from_units(model, {}), [0, 1, 2])
    np.testing.assert_allclose(
        whole.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-4, atol=1e-5
    )
    expected = mk.masked_model(modules, [2, 0])
    small = modules.compose([2, 0])
    small.save(tmp_path / "small.keras")
    loaded = keras.saving.load_model(tmp_path / "small.keras")  # without custom objects
    for each in (small, expected):
        assert type(each.get_layer("depthwise")) is layers.DepthwiseConv2D
    np.testing.assert_allclose(
        loaded.predict(x, verbose=0), expected.predict(x, verbose=0), rtol=1e-4, atol=1e-5
    )
    assert loaded.count_params() < model.count_params()


def test_units_of_such_a_layer_are_seen_without_a_warning():
    model = mobile(WithoutGroups, dilation_rate=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        mk.decompose(model, inputs_of(model, 6), np.arange(6) % 3, verbose=0)


def test_class_with_a_call_of_its_own_is_seen_through():
    model = mobile(OwnCall)
    modules = random_modules(model)
    small, expected = modules.compose([2, 0]), mk.masked_model(modules, [2, 0])
    assert not any(isinstance(layer, OwnCall) for layer in small.layers)
    x = inputs_of(model, 5)
    np.testing.assert_allclose(
        small.predict(x, verbose=0), expected.predict(x, verbose=0), rtol=1e-4, atol=1e-5
    )
