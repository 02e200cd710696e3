"""Sequential models of many layers load, in a time that grows with their number."""

import json

import keras
import numpy as np
import pytest
from keras import layers
from masking import randomize
from small_models import inputs_of

import moda_keras as mk
from moda_keras.modules.checked_files import keras_file, model_config
from moda_keras.modules.checked_files.keras_file import load_keras_file
from moda_keras.modules.checked_files.model_building import build_model, build_old_model
from moda_keras.modules.checked_files.model_work import work_of

load_with_keras = keras.saving.load_model


def load(path):
    options = {"is_default": True, "custom_objects": None, "safe_mode": True}
    return load_keras_file(path, path, 2**28, **options)


def chain(length):
    between = [layers.Activation("relu") for _ in range(length)]
    return randomize(
        keras.Sequential([keras.Input((4,)), layers.Dense(4), *between, layers.Dense(3)])
    )


@pytest.fixture
def few_calls(monkeypatch):
    """Makes any model one that Keras would build in too many calls."""
    monkeypatch.setattr(keras_file, "MAX_CALLS", 1)
    monkeypatch.setattr(keras.saving, "load_model", None)


def test_chain_of_two_hundred_and_fifty_layers_loads(tmp_path):
    """Keras alone calls layers 31,000 times for it, which takes ten seconds and more."""
    model = chain(247)
    number, calls = work_of(keras.saving.serialize_keras_object(model))
    assert number == 250 and calls > model_config.MAX_CALLS
    model.save(tmp_path / "chain.keras")
    x = inputs_of(model, 3)
    np.testing.assert_array_equal(outputs(load(tmp_path / "chain.keras"), x), outputs(model, x))


def test_more_layers_than_the_limit_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(model_config, "MAX_CALLS", 5)
    chain(3).save(tmp_path / "chain.keras")
    with pytest.raises(mk.ModuleFileError, match=r"has 6 layers, which are called 6 times"):
        load(tmp_path / "chain.keras")


def outputs(model, x):
    return keras.ops.convert_to_numpy(model(x))


def as_text(model):
    """The config in JSON, where a tuple is a list."""
    return json.dumps(model.get_config())


def nested():
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4), layers.BatchNormalization()])
    inputs = keras.Input((4,))
    return keras.Model(inputs, layers.Dense(2)(keras.Sequential([inner, layers.ReLU()])(inputs)))


def without_input():
    model = keras.Sequential([layers.Dense(4, "relu"), layers.Dropout(0.5), layers.Dense(3)])
    model.build((None, 4))
    return model


def with_modular_activation():
    return keras.Sequential([keras.Input((4,)), mk.layers.ModularActivation("relu")])


MODELS = [lambda: chain(2), nested, without_input, with_modular_activation]


@pytest.mark.parametrize("make", MODELS)
def test_models_that_are_built_at_once_are_those_of_keras(make, tmp_path, few_calls):
    model = randomize(make())
    model.compile("adam", "mse")
    model.save(tmp_path / "model.keras")
    loaded = load(tmp_path / "model.keras")
    assert type(loaded) is type(model) and as_text(loaded) == as_text(model)
    paths = [each.path for each in load_with_keras(tmp_path / "model.keras").weights]
    assert [each.path for each in loaded.weights] == paths
    x = inputs_of(model, 3)
    np.testing.assert_array_equal(outputs(loaded, x), outputs(model, x))
    assert not loaded.compiled


@pytest.mark.parametrize("make", MODELS)
def test_config_that_is_built_is_not_changed(make):
    config = keras.saving.serialize_keras_object(make())
    before = repr(config)
    build_model(config, {}, True)
    assert repr(config) == before


@keras.saving.register_keras_serializable("tests")
class Counted(layers.Layer):
    """Counts the calls of all its instances."""

    calls = 0

    def call(self, inputs):
        Counted.calls += 1
        return inputs


def test_each_layer_is_called_as_often_as_it_is_counted():
    model = keras.Sequential([keras.Input((4,)), *[Counted() for _ in range(20)]])
    config = keras.saving.serialize_keras_object(model)
    number, calls = work_of(config, at_once=True)
    assert number == calls == 21  # with the input
    Counted.calls = 0
    build_model(config, {}, True)
    assert Counted.calls <= 2 * 20  # a layer that is not built yet is called twice


def test_layers_of_old_files_are_built_at_once():
    config = {
        "name": "old",
        "layers": [
            {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 4], "name": "in"}},
            {"class_name": "Dense", "config": {"units": 3, "name": "dense"}},
            {"class_name": "Activation", "config": {"activation": "relu", "name": "relu"}},
        ],
    }
    built = build_old_model({"class_name": "Sequential", "config": config}, {})
    assert [each.name for each in built.layers] == ["dense", "relu"]
    assert built.input_shape == (None, 4) and built.output_shape == (None, 3)


def test_lambdas_are_refused(tmp_path, few_calls):
    model = keras.Sequential([keras.Input((4,)), layers.Lambda(lambda x: x)])
    model.save(tmp_path / "model.keras")
    with pytest.raises(mk.ModuleFileError, match="lambda"):
        load(tmp_path / "model.keras")


def test_vocabularies_are_refused(tmp_path, few_calls):
    """`load_weights` does not read them."""
    lookup = layers.StringLookup()
    lookup.adapt(["cat", "dog"])
    keras.Sequential([keras.Input((1,), dtype="string"), lookup]).save(tmp_path / "model.keras")
    with pytest.raises(mk.ModuleFileError, match="it has vocabularies"):
        load(tmp_path / "model.keras")
