"""Module files that refer to a .keras file instead of holding the model."""

import json
import os
import shutil
import zipfile

import keras
import numpy as np
import pytest
from keras import layers
from small_models import inputs_of, mlp, random_modules, run_in_fresh_process

import moda_keras as mk


@pytest.fixture
def modules():
    model = mlp()
    x = inputs_of(model, 30)
    return mk.decompose(model, x, np.arange(30) % 3, threshold=0.6, verbose=0)


@pytest.fixture
def saved(modules, tmp_path):
    """The module file, beside its model file."""
    modules.model.save(tmp_path / "mlp.keras")
    modules.save(tmp_path / "mlp.modules", model_file=tmp_path / "mlp.keras")
    return tmp_path / "mlp.modules"


def assert_same(loaded, modules):
    for name, units in modules.units.items():
        np.testing.assert_array_equal(loaded.units[name], units)
    x = inputs_of(modules.model, 4)
    np.testing.assert_array_equal(
        loaded.compose([2, 0]).predict(x, verbose=0), modules.compose([2, 0]).predict(x, verbose=0)
    )


def manifest_of(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["manifest.json", "arrays.npz"]
        return json.loads(archive.read("manifest.json"))


def test_round_trip_without_a_copy_of_the_model(modules, saved):
    assert_same(mk.load_modules(saved), modules)
    assert_same(mk.load_modules(str(saved)), modules)
    assert manifest_of(saved)["model"]["file"] == "mlp.keras"


def test_files_are_found_when_their_folder_has_moved(modules, tmp_path, monkeypatch):
    (tmp_path / "old" / "models").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "old")
    modules.model.save("models/mlp.keras")
    modules.save("parts/mlp.modules", model_file="models/mlp.keras")
    assert manifest_of("parts/mlp.modules")["model"]["file"] == "../models/mlp.keras"
    monkeypatch.chdir(tmp_path)
    shutil.move("old", "new")
    assert_same(mk.load_modules("new/parts/mlp.modules"), modules)
    code = "import sys, moda_keras as mk; print(len(mk.load_modules(sys.argv[1])))"
    assert run_in_fresh_process(code, tmp_path / "new" / "parts" / "mlp.modules").endswith("3\n")


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_files_are_found_through_links(modules, tmp_path):
    """A link to the module file, a folder that is a link, and links to both files in a cache."""
    (tmp_path / "deep" / "real").mkdir(parents=True)
    os.symlink(tmp_path / "deep" / "real", tmp_path / "folder")
    modules.model.save(tmp_path / "mlp.keras")
    modules.save(tmp_path / "folder" / "mlp.modules", model_file=tmp_path / "mlp.keras")
    assert_same(mk.load_modules(tmp_path / "folder" / "mlp.modules"), modules)
    os.symlink(tmp_path / "deep" / "real" / "mlp.modules", tmp_path / "linked.modules")
    assert_same(mk.load_modules(tmp_path / "linked.modules"), modules)
    cache = tmp_path / "cache" / "snapshot" / "folder"
    cache.mkdir(parents=True)
    os.rename(tmp_path / "folder" / "mlp.modules", tmp_path / "cache" / "blob1")
    os.rename(tmp_path / "mlp.keras", tmp_path / "cache" / "blob2")
    os.symlink(tmp_path / "cache" / "blob1", cache / "mlp.modules")
    os.symlink(tmp_path / "cache" / "blob2", tmp_path / "cache" / "mlp.keras")
    manifest = manifest_of(cache / "mlp.modules")
    assert manifest["model"]["file"] == "../../mlp.keras"
    assert_same(mk.load_modules(cache / "mlp.modules"), modules)


def test_missing_model_is_named_and_can_be_elsewhere(modules, saved, tmp_path):
    elsewhere = tmp_path / "elsewhere" / "renamed.keras"
    elsewhere.parent.mkdir()
    (tmp_path / "mlp.keras").rename(elsewhere)
    message = r"(?s)mlp\.modules' refers to the Keras model 'mlp\.keras'.*model_file="
    with pytest.raises(FileNotFoundError, match=message):
        mk.load_modules(saved)
    assert_same(mk.load_modules(saved, model_file=elsewhere), modules)
    with pytest.raises(FileNotFoundError, match=r"no file 'nowhere\.keras'"):
        mk.load_modules(saved, model_file="nowhere.keras")


def test_changed_model_is_refused(modules, saved, tmp_path):
    shutil.copy(tmp_path / "mlp.keras", tmp_path / "kept.keras")
    kernel = modules.model.get_layer("first").kernel
    kernel.assign(kernel + 1)
    modules.model.save(tmp_path / "mlp.keras")
    with pytest.raises(ValueError, match=r"(?s)mlp\.keras' to be the model file.*written again"):
        mk.load_modules(saved)
    loaded = mk.load_modules(saved, model_file=tmp_path / "kept.keras")
    kept = np.asarray(keras.ops.convert_to_numpy(loaded.model.get_layer("first").kernel))
    np.testing.assert_allclose(kept + 1, keras.ops.convert_to_numpy(kernel), rtol=1e-5)


def test_file_that_holds_its_model_takes_no_other(modules, saved, tmp_path):
    modules.save(tmp_path / "whole.modules")
    with pytest.raises(ValueError, match="holds its model itself"):
        mk.load_modules(tmp_path / "whole.modules", model_file=tmp_path / "mlp.keras")


def changed_weight(model, path):
    bias = model.get_layer("logits").bias
    bias.assign(bias + 1e-3)
    model.save(path)
    bias.assign(bias - 1e-3)


def changed_activation(model, path):
    other = mlp(activation="gelu")
    other.set_weights(model.get_weights())
    other.save(path)


def more_layers(model, path):
    other = keras.Sequential([keras.Input((4,)), *mlp().layers, layers.Dense(2)], name="mlp")
    other.save(path)


def damaged(model, path):
    model.save(path)
    path.write_bytes(path.read_bytes()[:-500])


@pytest.mark.parametrize(
    ("write", "difference"),
    [
        (changed_weight, "in which the weights 'layers/dense_2/vars/1' have other values"),
        (changed_activation, "in which a layer, a setting"),
        (more_layers, "in which a layer, a setting"),
        (damaged, "cannot be read"),
    ],
)
def test_file_of_another_model_is_not_referred_to(write, difference, modules, tmp_path):
    write(modules.model, tmp_path / "other.keras")
    with pytest.raises(ValueError, match=f"(?s){difference}.*Save the model again"):
        modules.save(tmp_path / "x.modules", model_file=tmp_path / "other.keras")
    assert [each.name for each in tmp_path.iterdir()] == ["other.keras"]


def test_wrong_model_files_are_refused(modules, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.keras'. Write it first"):
        modules.save(tmp_path / "x.modules", model_file="none.keras")
    with pytest.raises(ValueError, match=r"(?s)to be a .keras file.*old\.h5"):
        modules.save(tmp_path / "x.modules", model_file="old.h5")
    assert not list(tmp_path.iterdir())


def test_training_state_and_class_names_do_not_matter(tmp_path):
    """A compiled model with an optimizer, a Dropout with a seed, other members of the archive."""
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(6, activation="relu"),
            layers.Dropout(0.5, seed=1),
            layers.BatchNormalization(),
            layers.Dense(3),
        ]
    )
    model = mk.ModularModel.from_model(model)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, modular_loss=mk.MODALoss())
    model.fit(inputs_of(model, 12), np.arange(12) % 3, epochs=1, verbose=0)
    model.save(tmp_path / "trained.keras")
    with zipfile.ZipFile(tmp_path / "trained.keras", "a") as archive:
        archive.writestr("class_names.json", "[]")
    bare = keras.saving.load_model(tmp_path / "trained.keras", compile=False)
    for each in (model, bare):
        modules = random_modules(each)
        modules.save(tmp_path / "x.modules", overwrite=True, model_file=tmp_path / "trained.keras")
        assert_same(mk.load_modules(tmp_path / "x.modules"), modules)


class Doubled(layers.Layer):
    def call(self, inputs):
        return 2 * inputs


def test_custom_layer_needs_custom_objects_only_to_load(tmp_path):
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(6, activation="relu"), Doubled(), layers.Dense(3)]
    )
    model.save(tmp_path / "custom.keras")
    modules = random_modules(model)
    modules.save(tmp_path / "x.modules", model_file=tmp_path / "custom.keras")
    with pytest.raises(mk.ModuleFileError, match="Doubled"):
        mk.load_modules(tmp_path / "x.modules")
    loaded = mk.load_modules(tmp_path / "x.modules", custom_objects={"Doubled": Doubled})
    assert_same(loaded, modules)


def test_file_of_another_version_of_keras_is_recognised(modules, saved, tmp_path):
    """It names settings that this version does not, or the other way round."""
    path = tmp_path / "other_version.keras"
    with zipfile.ZipFile(tmp_path / "mlp.keras") as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                config = json.loads(content)
                del config["config"]["layers"][1]["config"]["bias_constraint"]
                content = json.dumps(config)
            new.writestr(name, content)
    modules.save(tmp_path / "y.modules", model_file=path)
    assert_same(mk.load_modules(tmp_path / "y.modules"), modules)


def test_vocabulary_is_compared(tmp_path):
    def make(words):
        text = keras.Input((), dtype="string")
        x = layers.StringLookup(vocabulary=words, output_mode="one_hot")(text)
        x = layers.Dense(4, activation="relu", kernel_initializer="ones", name="hidden")(x)
        return keras.Model(text, layers.Dense(3, kernel_initializer="ones")(x), name="text")

    model, other = make(["ant", "bee"]), make(["ant", "cow"])
    other.save(tmp_path / "other.keras")
    units = {"hidden": np.ones((3, 4), bool)}
    modules = mk.ModuleSet.from_units(model, units)
    with pytest.raises(ValueError, match="in which"):
        modules.save(tmp_path / "x.modules", model_file=tmp_path / "other.keras")


@pytest.mark.parametrize(
    "reference", ["mlp.keras", {"file": "mlp.keras"}, {"file": 1, "sha256": 2}]
)
def test_damaged_reference(saved, tmp_path, reference):
    manifest = {**manifest_of(saved), "model": reference}
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(tmp_path / "x.modules", "w") as new:
        new.writestr("manifest.json", json.dumps(manifest))
        new.writestr("arrays.npz", old.read("arrays.npz"))
    with pytest.raises(ValueError, match="which model file"):
        mk.load_modules(tmp_path / "x.modules")


def test_crash_while_writing_leaves_the_old_file(modules, saved, monkeypatch):
    old = saved.read_bytes()

    def crash(*arguments, **keywords):
        raise OSError("No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", crash)
    with pytest.raises(OSError, match="No space left"):
        modules.save(saved, overwrite=True, model_file=saved.with_suffix(".keras"))
    monkeypatch.undo()
    assert saved.read_bytes() == old
