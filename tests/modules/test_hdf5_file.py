"""HDF5 files of whole models are checked like .keras files, before they cost anything."""

import json
import marshal
import random

import h5py
import hostile_files as hostile
import keras
import numpy as np
import pytest
from keras import layers
from masking import randomize
from searches import IS_LONG

import moda_keras as mk
from moda_keras.modules.checked_files import hdf5_file
from moda_keras.modules.checked_files.limits import byte_limit

KERNEL = "model_weights/first/sequential/first/kernel"


@pytest.fixture(scope="module")
def model():
    return randomize(
        keras.Sequential(
            [keras.Input((4,)), layers.Dense(6, "relu", name="first"), layers.Dense(3)],
            name="sequential",
        )
    )


@pytest.fixture(scope="module")
def good(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("hdf5") / "good.h5"
    model.save(path)
    return path.read_bytes()


def load(path, max_bytes=None):
    limit = byte_limit(path, max_bytes)
    return hdf5_file.load_hdf5_file(path, limit, is_default=max_bytes is None)


@pytest.fixture
def changed(good, tmp_path):
    """A copy of the good file after a change of it."""

    def make(change):
        path = tmp_path / "hostile.h5"
        path.write_bytes(good)
        with h5py.File(path, "r+") as file:
            change(file)
        return path

    return make


def refuse(path, **options):
    with pytest.raises(mk.ModuleFileError) as caught:
        hostile.assert_cheap(lambda: load(path, **options))
    message = str(caught.value)
    assert caught.value.path == str(path) and message.isprintable() and len(message) < 1500
    return message


def with_layer(index, **settings):
    """Changes settings of a layer in the config."""

    def change(file):
        config = json.loads(file.attrs["model_config"])
        config["config"]["layers"][index]["config"] |= settings
        file.attrs["model_config"] = json.dumps(config)

    return change


def with_kernel(**options):
    def change(file):
        del file[KERNEL]
        file.create_dataset(KERNEL, **options)

    return change


def predictions(model):
    x = np.random.default_rng(0).random((3, *model.input_shape[1:]), "float32")
    return model.predict(x, verbose=0)


def test_good_files_load(model, changed):
    loaded = load(changed(lambda file: None))
    np.testing.assert_array_equal(predictions(loaded), predictions(model))
    assert loaded.get_config() == model.get_config()


def functional():
    inputs = keras.Input((8, 8, 2))
    x = layers.Conv2D(3, 3, activation="relu")(inputs)
    x = layers.Add()([x, layers.BatchNormalization()(x)])
    inner = keras.Sequential([keras.Input((6, 6, 3)), layers.Conv2D(2, 2), layers.Flatten()])
    return randomize(keras.Model(inputs, layers.Dense(3)(inner(x))))


def recurrent():
    return randomize(keras.Sequential([keras.Input((5, 2)), layers.Bidirectional(layers.LSTM(3))]))


def without_input():
    model = keras.Sequential([layers.Dense(4), layers.Dense(3)])
    model.build((None, 2))
    return randomize(model)


@pytest.mark.parametrize("make", [functional, recurrent, without_input])
def test_other_models_load_as_keras_loads_them(make, tmp_path):
    model = make()
    model.save(tmp_path / "model.h5")
    loaded, keras_s = load(tmp_path / "model.h5"), keras.saving.load_model(tmp_path / "model.h5")
    np.testing.assert_array_equal(predictions(loaded), predictions(keras_s))
    assert type(loaded) is type(keras_s) and loaded.get_config() == keras_s.get_config()


def test_models_of_registered_layers_load(tmp_path):
    model = randomize(
        keras.Sequential([keras.Input((4,)), layers.Dense(3), mk.layers.ModularActivation("relu")])
    )
    model.save(tmp_path / "model.h5")
    np.testing.assert_array_equal(predictions(load(tmp_path / "model.h5")), predictions(model))


@pytest.mark.parametrize(("index", "message"), [(1, "weights of its model take"), (2, "take")])
def test_config_of_a_huge_layer(index, message, changed):
    assert message in refuse(changed(with_layer(index, units=10**8)))


def test_config_of_many_layers(changed):
    def change(file):
        config = json.loads(file.attrs["model_config"])
        config["config"]["layers"] += [{"class_name": "ReLU", "config": {}}] * 6000
        file.attrs["model_config"] = json.dumps(config)

    assert "has 6,004 layers" in refuse(changed(change))


@pytest.mark.parametrize(
    "options",
    [
        {"shape": (10**9,), "dtype": "float32", "compression": "gzip", "chunks": (10**6,)},
        {"shape": (10**9,), "dtype": "float32"},
    ],
)
def test_weights_that_are_larger_than_the_file(options, changed):
    assert "its weights take 4,000,000," in refuse(changed(with_kernel(**options)))


def test_weights_that_are_named_again_and_again(changed):
    """Each time that they are named, Keras reads them again."""

    def change(file):
        with_kernel(shape=(2**20,), dtype="float32")(file)
        group = file["model_weights/first"]
        group.attrs["weight_names"] = np.array([b"sequential/first/kernel"] * 1000)

    assert "named twice, take 4,194,304," in refuse(changed(change))


def test_layers_that_are_named_again_and_again(changed):
    def change(file):
        weights = file["model_weights"]
        for part in range(2):
            weights.attrs[f"layer_names{part}"] = np.array([b"first"] * 3000)
        del weights.attrs["layer_names"]

    assert "names more than 5,000 layers" in refuse(changed(change))


def test_attribute_that_may_name_a_long_text_many_times(changed):
    def change(file):
        file.attrs["long"] = "x" * 2**21
        file["model_weights"].attrs["layer_names"] = np.array([b"first"] * 3000, object)

    assert "its attribute 'layer_names' takes up to 6," in refuse(changed(change))


def test_weights_in_another_file(changed, tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["secret"] = np.ones((4, 6), "float32")

    def change(file):
        del file[KERNEL]
        file[KERNEL] = h5py.ExternalLink(tmp_path / "other.h5", "secret")

    assert "have a link" in refuse(changed(change))


def test_no_code_runs(changed, tmp_path):
    target = tmp_path / "ran"
    code = compile(f"open({str(target)!r}, 'w')", "", "eval")
    packed = marshal.dumps(code).hex()

    def change(file):
        config = json.loads(file.attrs["model_config"])
        settings = {"name": "f", "function": [packed, None, None], "function_type": "lambda"}
        config["config"]["layers"].append({"class_name": "Lambda", "config": settings})
        file.attrs["model_config"] = json.dumps(config)

    assert "lambda" in refuse(changed(change)).lower()
    assert not target.exists()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "it is no JSON"),
        ("[]", "does not describe a model"),
        ('{"class_name": "Sequential"}', "config"),
        ('{"class_name": "Unheard", "config": {}}', "the class 'Unheard', which this process"),
        ("[" * 5000, "it is no JSON"),
    ],
)
def test_config_that_is_none(config, message, changed):
    assert message in refuse(changed(lambda file: file.attrs.update(model_config=config)))


def test_limit_can_be_set(changed, model):
    path = changed(lambda file: None)
    assert "over the limit of 100." in refuse(path, max_bytes=100)
    np.testing.assert_array_equal(predictions(load(path, 10**6)), predictions(model))


def test_other_suffix_is_named(good, tmp_path):
    path = tmp_path / "model.dat"
    path.write_bytes(good)
    with pytest.raises(mk.ModuleFileError, match=r"reads from .h5 and .hdf5. Rename it"):
        load(path)


def test_variants_are_refused_or_sound(good, tmp_path, model):
    rng = random.Random(0)
    variants, loaded = 2000 if IS_LONG else 60, 0
    for _ in range(variants):
        path = tmp_path / "variant.h5"
        path.write_bytes(hostile.bytes_changed(rng, good))
        try:
            loaded += load(path).count_params() == model.count_params()
        except mk.ModuleFileError as error:
            assert error.reason.isprintable()
    assert 0 < loaded < variants
