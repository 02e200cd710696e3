"""Models of the user's own layers: what commands and `load_modules` say, and `moda --import`."""

import importlib.util
import json
import sys
import zipfile

import keras
import numpy as np
import pytest
from command_line import ask, fail

import moda_keras as mk
from moda_keras.cli.files import load_model

LAYERS = """
import keras
from beside_layers import FACTOR

@keras.saving.register_keras_serializable("test_shop")
class Doubling(keras.layers.Layer):
    def call(self, inputs):
        return FACTOR * inputs

@keras.saving.register_keras_serializable("test_shop")
def flat(inputs):
    return keras.ops.relu(inputs)
"""


def forget(*modules):
    for name in ("Doubling", "flat"):
        keras.saving.get_custom_objects().pop(f"test_shop>{name}", None)
    for name in (*modules, "beside_layers"):
        sys.modules.pop(name, None)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Models of a layer and of a function whose module is not imported any more."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    (tmp_path / "beside_layers.py").write_text("FACTOR = 2.0")
    (tmp_path / "shop_layers.py").write_text(LAYERS)
    module = importlib.import_module("shop_layers")
    inputs = keras.Input((4,))
    x = keras.layers.Dense(5, activation="relu")(module.Doubling()(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3)(x))
    model.save(tmp_path / "own.keras")
    model.save(tmp_path / "own.h5")
    mk.ModuleSet.from_units(model, {}).save(tmp_path / "own.modules")
    x = keras.layers.Dense(5, activation=module.flat)(inputs)
    keras.Model(inputs, keras.layers.Dense(3)(x)).save(tmp_path / "function.keras")
    sys.path.remove(str(tmp_path))
    forget("shop_layers")
    yield tmp_path
    forget("shop_layers")


@pytest.mark.parametrize("name", ["own.keras", "own.h5", "own.modules", "function.keras"])
def test_error_names_what_is_missing_and_not_damage(name, folder):
    load = mk.load_modules if name.endswith(".modules") else load_model
    with pytest.raises(mk.ModuleFileError) as raised:
        load(folder / name)
    said = str(raised.value)
    assert "which is sound as far as it was read, but needs the " in said
    kind = "the function 'flat'" if name == "function.keras" else "the class 'Doubling'"
    of_file = ", module 'shop_layers'" if name in ("own.keras", "own.modules") else ""
    assert f"{kind} (package 'test_shop'{of_file}), which this process does not have" in said
    assert "moda --import MODULE" in said and "`custom_objects`" in said
    assert "damaged" not in said and "config" not in said.replace("custom_objects", "")
    assert raised.value.path == str(folder / name)
    assert raised.value.reason.startswith("needs ")
    assert fail("info", folder / name) == f"Error: {said}"


def test_module_is_imported_from_a_file_or_by_name(folder, monkeypatch):
    found = ask("--import", folder / "shop_layers.py", "info", folder / "own.keras")
    assert found["parameters"] == 4 * 5 + 5 + 5 * 3 + 3
    assert ask("info", folder / "function.keras")["parameters"] == found["parameters"]
    forget("shop_layers")
    monkeypatch.chdir(folder)
    modules = ask("--import", "shop_layers", "info", "own.modules")
    assert modules["kind"] == "modules" and modules["parameters"] == found["parameters"]


def test_file_runs_once_and_takes_no_other_module_s_name(folder):
    path = folder / "json.py"
    path.write_text("import sys\nsys.test_shop_runs = getattr(sys, 'test_shop_runs', 0) + 1")
    try:
        for _ in range(2):
            ask("--import", path, "--import", folder / "shop_layers.py", "info", folder / "own.h5")
        assert sys.test_shop_runs == 1
        assert sys.modules["json"] is json
    finally:
        del sys.test_shop_runs
        forget("json_imported")


@pytest.mark.parametrize(
    ("content", "message"),
    [("import nothing_like_it", "ModuleNotFoundError: No module"), ("exit(3)", "SystemExit: 3")],
)
def test_module_that_fails_is_named(content, message, folder):
    path = folder / "failing.py"
    path.write_text(content)
    said = fail("--import", path, "info", folder / "own.keras")
    assert f"Received: {path} ({message}" in said
    assert "failing" not in sys.modules
    assert "There is no file" in fail("--import", folder / "none.py", "info")
    assert "(ModuleNotFoundError: No module named 'none_such')" in fail(
        "--import", "none_such", "info"
    )


def test_files_import_nothing(folder, monkeypatch):
    """The module that a file names can be imported, and is not unless the user says so."""
    monkeypatch.chdir(folder)
    sys.path.append(str(folder))
    fail("info", folder / "own.keras")
    assert "shop_layers" not in sys.modules


def test_other_failures_are_not_blamed_on_classes(folder):
    """A config with a setting that a layer of Keras does not have is damaged."""
    with zipfile.ZipFile(folder / "function.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = members["config.json"].decode().replace('"units"', '"no_units"')
    config = config.replace("test_shop>flat", "relu")
    with zipfile.ZipFile(folder / "odd.keras", "w") as archive:
        for name, content in (members | {"config.json": config}).items():
            archive.writestr(name, content)
    assert "is damaged" in fail("info", folder / "odd.keras")


def test_custom_objects_in_a_scope_are_found(folder):
    def flat(x):
        return keras.ops.relu(x)

    with keras.saving.CustomObjectScope({"test_shop>flat": flat}):
        model = load_model(folder / "function.keras")
    assert model(np.ones((1, 4))).shape == (1, 3)
