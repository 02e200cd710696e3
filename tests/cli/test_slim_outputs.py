"""`moda slim` and `moda compose` by the kind of a model's outputs: one class, several labels."""

import keras
import numpy as np
import pytest
from command_line import ask, fail, invoke
from small_models import inputs_of, mlp

import moda_keras as mk


def ending_in(activation):
    model = mlp()
    kernel, bias = model.layers[-1].get_weights()
    middle = np.median(model.predict(inputs_of(model, 60), verbose=0), axis=0)
    model.layers[-1].set_weights([kernel, bias - middle])
    return keras.Model(model.inputs, keras.layers.Activation(activation)(model.outputs[0]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Models, modules, and data with and without labels."""
    path = tmp_path_factory.mktemp("outputs")
    for activation in ("softmax", "sigmoid"):
        model = ending_in(activation)
        x = inputs_of(model, 60)
        scores = model.predict(x, verbose=0)
        model.save(path / f"{activation}.keras")
        mk.ModuleSet.from_units(model, {}).save(path / f"{activation}.modules")
    np.savez(path / "none.npz", x=x)
    np.savez(path / "single.npz", x=x, y=scores.argmax(axis=-1))
    np.savez(path / "wrong.npz", x=x, y=scores.argmin(axis=-1))
    np.savez(path / "several.npz", x=x, y=(scores > 0.5).astype(int))
    return path


def slim(folder, model, data, classes):
    arguments = ("--classes", classes, "--data", folder / data, "--size", 0.9, "--force")
    return ("slim", folder / model, *arguments, "-o", folder / "small.keras")


def warnings_of(*command):
    result = invoke(*command)
    assert result.exit_code == 0, result.output
    return [line for line in result.stderr.splitlines() if line.startswith("Warning")]


def test_labels_of_several_classes_are_refused(folder):
    y = np.load(folder / "several.npz")["y"]
    several = sum(row.sum() != 1 for row in y)
    said = fail(*slim(folder, "sigmoid.keras", "several.npz", "0,1"))
    assert "Expected labels of one class a sample. Received: multi-hot labels, " in said
    assert f"{several} of 60 samples of several classes or none" in said


@pytest.mark.parametrize("data", ["none.npz", "single.npz"])
def test_sigmoids_are_measured_by_the_largest_which_is_said_once(data, folder):
    (said,) = warnings_of(*slim(folder, "sigmoid.keras", data, "0,1"))
    assert "accuracy and agreement are by the largest of the chosen outputs" in said
    assert "whether an output is above 0.5 is not looked at" in said
    assert not warnings_of(*slim(folder, "softmax.keras", "none.npz", "0,1"))


def test_one_class_of_a_softmax_is_refused(folder):
    said = fail(*slim(folder, "softmax.keras", "single.npz", "1"))
    assert "Expected at least two classes" in said and "Received: --classes 1." in said
    assert "moda compose --other" in said


def test_one_class_of_sigmoids_is_measured_by_one_half(folder):
    assert not warnings_of(*slim(folder, "sigmoid.keras", "single.npz", "1"))
    for data, accuracy in (("single.npz", 1.0), ("wrong.npz", 0.0)):
        found = ask(*slim(folder, "sigmoid.keras", data, "1"))
        full = next(row for row in found["models"] if row["model"] == "full")
        assert abs(full["accuracy"] - accuracy) < 0.4
        assert full["agreement"] == 1.0


def test_one_composed_class_says_once_what_to_do_in_the_command(folder):
    (said,) = warnings_of(
        "compose", folder / "softmax.modules", "1", "--force", "-o", folder / "small.keras"
    )
    assert "over one class is constant" in said and "(moda compose --other)" in said


def test_samples_that_repair_a_model_of_sigmoids_are_named(folder):
    def said(name, data):
        options = ("--data", folder / data, "--force", "-o", folder / "small.keras")
        return warnings_of("compose", folder / f"{name}.modules", "0", "1", *options)

    (warning,) = said("sigmoid", "none.npz")
    assert "the samples whose largest output is one of the chosen classes" in warning
    assert not said("sigmoid", "single.npz") and not said("softmax", "none.npz")
