"""HDF5 files of Keras 2, which name settings that Keras 3 does not know."""

import json

import h5py
import keras
import numpy as np
import pytest
from command_line import TINY_DATA, ask, fail
from keras import layers
from masking import randomize

import moda_keras as mk
from moda_keras.cli import files


def written_by_keras_2(model, path, **settings):
    """A file whose layers have further settings: `DepthwiseConv2D={"groups": 1}`."""
    model.save(path)
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        add_settings(config, settings)
        file.attrs["model_config"] = json.dumps(config)
    return path


def add_settings(node, settings):
    for each in node.values() if isinstance(node, dict) else node:
        if isinstance(each, (dict, list)):
            add_settings(each, settings)
    if isinstance(node, dict) and node.get("class_name") in settings:
        node["config"].update(settings[node["class_name"]])


def predictions(model):
    x = np.random.default_rng(0).random((3, *model.input_shape[1:]), "float32")
    return model.predict(x, verbose=0)


def stacked(*of_layers, shape=(8, 8, 1)):
    return randomize(keras.Sequential([keras.Input(shape), *of_layers]))


@pytest.fixture(scope="module")
def depthwise(tmp_path_factory):
    """A file of a small MobileNet, and what the model predicts."""
    model = stacked(
        layers.Conv2D(4, 3, activation="relu"),
        layers.DepthwiseConv2D(3, activation="relu"),
        layers.SeparableConv2D(4, 2, activation="relu"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(10),
    )
    path = tmp_path_factory.mktemp("old") / "old.h5"
    one = {"groups": 1}
    return written_by_keras_2(model, path, DepthwiseConv2D=one, SeparableConv2D=one), model


def test_file_with_groups_of_one_is_loaded_without_custom_code(depthwise):
    path, model = depthwise
    with pytest.raises((TypeError, ValueError), match="groups"):
        keras.saving.load_model(path, compile=False)
    before = path.read_bytes()
    loaded = files.load_model(path)
    np.testing.assert_array_equal(predictions(loaded), predictions(model))
    assert all(type(layer).__module__.startswith("keras.") for layer in loaded.layers)
    assert path.read_bytes() == before


def test_commands_take_such_a_file(depthwise, tmp_path):
    path, model = depthwise
    assert ask("info", path)["parameters"] == model.count_params()
    ask("decompose", path, *TINY_DATA, "--threshold", 0.1, "-o", tmp_path / "a.modules")
    ask("compose", tmp_path / "a.modules", 3, 1, "-o", tmp_path / "small.keras")
    small = keras.saving.load_model(tmp_path / "small.keras")
    expected = mk.load_modules(tmp_path / "a.modules").compose([3, 1])
    np.testing.assert_array_equal(predictions(small), predictions(expected))
    ask("evaluate", path, *TINY_DATA)


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        (lambda: layers.Bidirectional(layers.LSTM(3)), {"LSTM": {"time_major": False}}),
        (lambda: layers.GRU(3), {"GRU": {"time_major": False, "implementation": 2}}),
        (lambda: layers.Conv1DTranspose(3, 2), {"Conv1DTranspose": {"groups": 1}}),
        (
            lambda: layers.Dense(3, dtype="mixed_float16"),
            {"Dense": {"dtype": {"class_name": "Policy", "config": {"name": "mixed_float16"}}}},
        ),
    ],
)
def test_other_settings_that_change_nothing(make, settings, tmp_path):
    model = stacked(make(), shape=(6, 2))
    loaded = files.load_model(written_by_keras_2(model, tmp_path / "old.h5", **settings))
    np.testing.assert_array_equal(predictions(loaded), predictions(model))


def test_settings_that_change_something_are_refused(tmp_path):
    model = stacked(layers.DepthwiseConv2D(3), layers.Flatten(), layers.Dense(10))
    path = written_by_keras_2(model, tmp_path / "old.h5", DepthwiseConv2D={"groups": 2})
    assert "{'groups': 2}" in fail("info", path)


def test_hdf5_files_without_a_model_are_named(tmp_path):
    model = stacked(layers.Dense(3), shape=(4,))
    model.save_weights(tmp_path / "a.weights.h5")
    assert "it has weights alone, and no model" in fail("info", tmp_path / "a.weights.h5")
    model.save(tmp_path / "whole.h5")
    content = (tmp_path / "whole.h5").read_bytes()
    (tmp_path / "half.h5").write_bytes(content[: len(content) // 2])
    assert "half.h5', which is not one or is damaged" in fail("info", tmp_path / "half.h5")
