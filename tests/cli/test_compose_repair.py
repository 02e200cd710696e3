"""`moda compose` of modules by importance: repaired with data, and a warning without."""

import keras
import numpy as np
import pytest
from command_line import TINY_DATA, ask, fail, invoke, run

import moda_keras as mk

CHOSEN = [7, 0, 3]


@pytest.fixture(scope="module")
def digits():
    return mk.datasets.load("digits", samples_per_class=6, test_samples_per_class=4)


@pytest.fixture(scope="module")
def by_importance(trained, digits, tmp_path_factory):
    """A file of modules of a third of the parameters, for a sub-task."""
    model = keras.saving.load_model(trained.model, compile=False)
    x, y = digits.x_train, digits.y_train
    names = [f"d{label}" for label in range(10)]
    modules = mk.decompose(model, x, y, criterion="importance", class_names=names, verbose=0)
    path = tmp_path_factory.mktemp("importance") / "digits.modules"
    modules.within(parameters=0.3, classes=CHOSEN).save(path)
    return path


@pytest.fixture(scope="module")
def chosen(digits):
    return digits.x_train[np.isin(digits.y_train, CHOSEN)]


def predictions(path, x):
    return keras.saving.load_model(path).predict(x, verbose=0)


NAMES = ("--class-names", "0,1,2,3,4,5,6,7,8,9")


@pytest.mark.parametrize("labels", [True, False])
def test_repaired_model_is_the_library_s(
    labels, by_importance, digits, chosen, tmp_path, monkeypatch
):
    """Of arrays, those go into the repair that are of the classes."""
    if labels:
        arrays = {"y_train": digits.y_train, "y_test": digits.y_test}
        arrays |= {"x_train": digits.x_train, "x_test": digits.x_test}
    else:
        arrays = {"x_train": digits.x_train, "x_test": digits.x_test[:1]}
        model = mk.load_modules(by_importance).model
        predicted = model.predict(digits.x_train, verbose=0).argmax(axis=-1)
        chosen = digits.x_train[np.isin(predicted, CHOSEN)]
    np.savez(tmp_path / "digits.npz", **arrays)
    given, compose = [], mk.compose
    monkeypatch.setattr(
        mk, "compose", lambda *a, **k: given.append(k["calibration_data"]) or compose(*a, **k)
    )
    output = ("-o", tmp_path / "small.keras")
    command = ("compose", by_importance, "d7", "d0", "d3", "--data", tmp_path / "digits.npz")
    found = ask(*command, *output)
    assert found["repaired_with"] == len(chosen) and found["classes"] == ["d7", "d0", "d3"]
    assert sorted(map(np.ndarray.tobytes, given[0])) == sorted(map(np.ndarray.tobytes, chosen))
    modules = mk.load_modules(by_importance)
    repaired = compose(modules, CHOSEN, calibration_data=given[0], verbose=0)
    expected = repaired.predict(chosen, verbose=0)
    np.testing.assert_allclose(predictions(output[1], chosen), expected, atol=1e-4)
    plain = compose(modules, CHOSEN).predict(chosen, verbose=0)
    assert np.abs(plain - expected).max() > 1e-2


def test_images_and_class_names_of_the_data(by_importance, chosen, tmp_path):
    output = ("--force", "-o", tmp_path / "small.keras")
    command = ("compose", by_importance, 7, 0, 3, *TINY_DATA, *NAMES, *output)
    assert ask(*command)["repaired_with"] == len(chosen)
    assert "repaired with" in run(*command)
    assert ask(*command, "--calibration-samples", 6)["repaired_with"] == 6
    # Without them, the data has none of the classes.
    message = fail("compose", by_importance, 7, 0, 3, *TINY_DATA, *output)
    assert "Expected data with the classes d7, d0, d3" in message


def test_warning_without_data(by_importance, trained, tmp_path):
    output = ("--force", "-o", tmp_path / "small.keras")
    result = invoke("compose", by_importance, 7, 0, *output)
    assert result.exit_code == 0 and (tmp_path / "small.keras").exists()
    (line,) = result.stderr.splitlines()
    assert "modules by importance" in line and "with --data" in line
    assert ask("compose", by_importance, 7, 0, *output)["repaired_with"] == 0
    assert invoke("compose", trained.modules, 7, 0, *output).stderr == ""


@pytest.mark.parametrize("option", [("--calibration-samples", 9), ("--pixels", "0-255")])
def test_options_of_the_data_need_data(option, by_importance, tmp_path):
    command = ("compose", by_importance, 7, 0, "-o", tmp_path / "small.keras", *option)
    assert "Expected --data with options of the data" in fail(*command, code=2)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def measured(trained, tmp_path_factory):
    """A file of modules whose importance the command line has measured."""
    path = tmp_path_factory.mktemp("measured") / "digits.modules"
    found = ask(
        "decompose", trained.model, *TINY_DATA, "--criterion", "importance", *NAMES, "-o", path
    )
    assert found["criterion"] == "importance"
    return path


@pytest.mark.parametrize("data", [(), TINY_DATA], ids=["without data", "with data"])
def test_size_is_the_library_s_choice(data, measured, chosen, tmp_path, monkeypatch):
    given, compose = [], mk.compose
    monkeypatch.setattr(
        mk, "compose", lambda *a, **k: given.append(k["calibration_data"]) or compose(*a, **k)
    )
    output = tmp_path / "small.keras"
    found = ask("compose", measured, *CHOSEN, "--size", 0.3, *data, "-o", output)
    assert 0.2 < found["size"] <= 0.3
    assert (given[0] is not None) == bool(data)
    of = {"calibration_data": given[0], "verbose": 0}
    modules = mk.load_modules(measured).within(parameters=0.3, classes=CHOSEN, **of)
    expected = compose(modules, CHOSEN, **of).predict(chosen, verbose=0)
    np.testing.assert_allclose(predictions(output, chosen), expected, atol=1e-4)


def test_size_needs_importance_and_a_share(trained, measured, tmp_path):
    output = ("-o", tmp_path / "small.keras")
    message = fail("compose", trained.modules, 7, 0, "--size", 0.3, *output, code=2)
    assert "Received: modules of the criterion 'frequency'" in message
    assert "moda decompose --criterion importance" in message
    for size in (0, 1.5, "nan"):
        message = fail("compose", measured, 7, 0, "--size", size, *output, code=2)
        assert "Expected --size in (0, 1]" in message
    *_, error = invoke("compose", measured, 7, 0, "--size", 1e-6, *output).stderr.splitlines()
    assert "Received: --size 1e-06, where the smallest model of the classes ['7', '0']" in error
    unknown = ("--criterion", "size")
    assert "--criterion" in fail("decompose", trained.model, *TINY_DATA, *output, *unknown, code=2)
