"""decompose, tune, compose, evaluate, info, report: what works on modules."""

import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import get_args

import keras
import numpy as np
import pytest
from command_line import TINY_DATA, ask, fail, run
from small_models import BACKEND

import moda_keras as mk
from moda_keras.cli import options
from moda_keras.cli.class_names import read_class_names
from moda_keras.cli.formats import SUFFIXES


@pytest.fixture(scope="module")
def modules(trained):
    return mk.load_modules(trained.modules)


@pytest.fixture(scope="module")
def data():
    return mk.datasets.load("digits", samples_per_class=6, test_samples_per_class=4)


def test_decompose_is_the_library_s(trained, modules, tmp_path):
    output = tmp_path / "new" / "wide.modules"
    found = ask("decompose", trained.model, *TINY_DATA, "--threshold", 0.4, "-o", output)
    expected, received = modules.with_threshold(0.4), mk.load_modules(output)
    for name, units in expected.units.items():
        np.testing.assert_array_equal(received.units[name], units)
    sizes = mk.metrics.module_size(expected)
    np.testing.assert_allclose(list(found["module_size"].values()), sizes)
    assert found["threshold"] == 0.4
    assert "per module, average" in run(
        "decompose", trained.model, *TINY_DATA, "-o", output, "--force"
    )


def test_decompose_chooses_epsilons(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(6, activation="tanh", name="hidden"),
            keras.layers.Dense(10),
        ]
    )
    model.save(tmp_path / "tanh.keras")
    arguments = ("decompose", tmp_path / "tanh.keras", *TINY_DATA, "-o", tmp_path / "a.modules")
    found = ask(*arguments, "--epsilon", "auto")
    images = mk.datasets.load("digits", samples_per_class=6, test_samples_per_class=4).x_train
    expected = mk.choose_epsilons(model, images, verbose=0)
    assert found["epsilons"] == pytest.approx(expected, rel=0.02)
    assert ask(*arguments, "--epsilon", "0.2", "--force")["epsilons"] == {"hidden": 0.2}


def test_module_file_can_refer_to_the_model_file(trained, modules, data, tmp_path):
    model, output = tmp_path / "d.keras", tmp_path / "d.modules"
    shutil.copy(trained.model, model)
    ask("decompose", model, *TINY_DATA, "--refer", "-o", output)
    assert output.stat().st_size < model.stat().st_size / 4
    found = ask("info", output)
    assert found["model_file"] == str(model) and str(model) in run("info", output)
    assert ask("info", trained.modules)["model_file"] is None
    ask("tune", output, *TINY_DATA, "--refer", "-o", tmp_path / "tuned.modules")
    assert ask("info", tmp_path / "tuned.modules")["model_file"] == str(model)
    ask("compose", output, 7, 0, "-o", tmp_path / "small.keras")
    small = keras.saving.load_model(tmp_path / "small.keras")
    expected = mk.compose(modules, [7, 0]).predict(data.x_test, verbose=0)
    np.testing.assert_allclose(small.predict(data.x_test, verbose=0), expected, atol=1e-6)
    of_copy = ask("evaluate", trained.modules, *TINY_DATA, "--classes", "1,2")
    assert ask("evaluate", output, *TINY_DATA, "--classes", "1,2") == of_copy
    model.write_bytes(b"something else")
    assert "d.keras' to be the model file that" in fail("info", output)
    model.unlink()
    assert "refers to the Keras model 'd.keras', and there is no file" in fail("info", output)


def test_only_a_keras_file_is_referred_to(trained, tmp_path):
    output = ("--refer", "-o", tmp_path / "a.modules")
    shutil.copy(trained.model, tmp_path / "model.zip")
    assert "Expected a .keras file" in fail(
        "decompose", tmp_path / "model.zip", *TINY_DATA, *output
    )
    assert "holds its model itself" in fail("tune", trained.modules, *TINY_DATA, *output)


def test_tune_never_enlarges_modules_needlessly(trained, modules, tmp_path):
    arguments = ("--max-accuracy-loss", 0.9, "-o", tmp_path / "small.modules")
    found = ask("tune", trained.modules, *TINY_DATA, *arguments)
    assert found["mean_module_size"] <= found["before"]["mean_module_size"]
    assert mk.load_modules(tmp_path / "small.modules").threshold == found["threshold"]
    assert found["before"]["threshold"] == modules.threshold


def test_composed_model_is_the_library_s(trained, modules, data, tmp_path):
    found = ask("compose", trained.modules, 7, 0, 3, "-o", tmp_path / "small.keras")
    assert found["classes"] == ["7", "0", "3"]
    small = keras.saving.load_model(tmp_path / "small.keras")
    expected = mk.compose(modules, [7, 0, 3])
    np.testing.assert_allclose(
        small.predict(data.x_test, verbose=0), expected.predict(data.x_test, verbose=0), atol=1e-6
    )
    assert found["parameters"] == sum(np.prod(w.shape) for w in small.trainable_weights)
    assert found["size"] == pytest.approx(mk.metrics.composed_size(modules, [7, 0, 3]))
    assert found["flops"] == mk.metrics.count_flops(expected)


def test_names_come_before_indices(modules, tmp_path):
    names = ("9", "cat", "1", *"34567", "x, y", "dog")
    mk.ModuleSet.from_units(modules.model, modules.units, class_names=names).save(tmp_path / "m")
    found = ask("compose", tmp_path / "m", "1,dog", "8", "-o", tmp_path / "a.keras")
    assert found["classes"] == ["1", "dog", "x, y"]  # the first is class 2; none is called "8"
    found = ask("compose", tmp_path / "m", "x, y", "dog", "-o", tmp_path / "b.keras")
    assert found["classes"] == ["x, y", "dog"]  # a known name keeps its comma


@pytest.mark.parametrize("suffix", [".onnx", ".tflite", ".xml", ".pt2"])
def test_format_is_that_of_the_suffix(suffix, trained, tmp_path, monkeypatch):
    def export(model, path, format, verbose):
        Path(path).write_text(f"{format} of {model.output_shape}")

    monkeypatch.setattr(keras.Model, "export", export)
    found = ask("compose", trained.modules, 1, 2, "-o", tmp_path / f"small{suffix}")
    written = (tmp_path / f"small{suffix}").read_text()
    assert written == f"{found['format']} of (None, 2)"
    assert SUFFIXES[suffix] == found["format"] in get_args(options.Format)


def write_two_files(model, path, format, verbose):
    """As OpenVINO does: the graph in the file that is named, the weights beside it."""
    assert Path(path).suffix == ".xml"
    Path(path).write_text("graph")
    Path(path).with_suffix(".bin").write_text("weights")


def test_weights_that_are_written_beside_the_graph_come_along(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(keras.Model, "export", write_two_files)
    command = ("compose", trained.modules, 1, 2, "-o", tmp_path / "small.xml")
    run(*command)
    read = {path.name: path.read_text() for path in tmp_path.iterdir()}
    names = {"small.xml.classes.json": '["1", "2"]'}
    assert read == {"small.xml": "graph", "small.bin": "weights"} | names
    (tmp_path / "small.xml.classes.json").unlink()
    (tmp_path / "small.xml").unlink()
    (tmp_path / "small.bin").write_text("another's")
    assert "small.bin' exists. Pass --force" in fail(*command)
    assert [path.name for path in tmp_path.iterdir()] == ["small.bin"]
    run(*command, "--force")
    read = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert read == {"small.xml": "graph", "small.bin": "weights"} | names


def test_no_file_beside_an_export_is_replaced(trained, tmp_path, monkeypatch):
    def export(model, path, format, verbose):
        Path(path).write_text("graph")
        Path(f"{path}.data").write_text("weights")

    monkeypatch.setattr(keras.Model, "export", export)
    (tmp_path / "small.onnx.data").write_text("another's")
    message = fail("compose", trained.modules, 1, 2, "-o", tmp_path / "small.onnx")
    assert "small.onnx.data' exists. Pass --force" in message
    assert [path.name for path in tmp_path.iterdir()] == ["small.onnx.data"]


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (ModuleNotFoundError("No module", name="onnx"), "(onnx). Install them with: pip install "),
        (RuntimeError("a bad\n shape"), f"with the backend '{BACKEND}': a bad shape. docs/slicing"),
    ],
)
def test_failed_export_is_explained(raised, message, trained, tmp_path, monkeypatch):
    def export(*arguments, **named):
        if isinstance(raised, ImportError):
            raise RuntimeError("as torch's exporter does it") from raised
        raise raised

    monkeypatch.setattr(keras.Model, "export", export)
    shown = fail("compose", trained.modules, 1, 2, "-o", tmp_path / "small.onnx")
    assert message in shown and "the format 'onnx'" in shown.replace("The", "the")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(BACKEND == "torch", reason="Keras writes no SavedModel with torch")
def test_saved_model_is_a_folder(trained, tmp_path):
    pytest.importorskip("tensorflow")
    output = ("--format", "tf_saved_model", "-o", tmp_path / "small")
    ask("compose", trained.modules, 1, 2, *output)
    assert (tmp_path / "small" / "saved_model.pb").exists()
    assert "exists" in fail("compose", trained.modules, 1, 2, *output)


@pytest.fixture(scope="module")
def of_any_size(tmp_path_factory):
    """The modules of a model that takes images of any size, whose FLOPs are not known."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((None, None, 1)),
            keras.layers.Conv2D(6, 3, activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(10),
        ]
    )
    (hidden,) = mk.find_hidden_activations(model)
    units = {hidden.name: np.random.default_rng(0).random((10, 6)) < 0.7}
    path = tmp_path_factory.mktemp("any") / "any.modules"
    names = [str(digit) for digit in range(10)]
    mk.ModuleSet.from_units(model, units, class_names=names).save(path)
    return path


def test_flops_of_a_model_of_images_of_any_size_are_not_known(of_any_size, tmp_path):
    assert ask("info", of_any_size)["flops"] is None
    assert "multiply-accumulates   -" in run("info", of_any_size)
    found = ask("compose", of_any_size, 1, 2, "-o", tmp_path / "small.keras")
    assert found["flops"] is None and found["flops_share"] is None
    assert found["size"] < 1 and ask("info", tmp_path / "small.keras")["flops"] is None
    assert "- of -: -" in run("compose", of_any_size, 3, "-o", tmp_path / "one.keras")


def test_modules_of_images_of_any_size_are_evaluated(of_any_size, data):
    found = ask("evaluate", of_any_size, *TINY_DATA, "--subtasks", 9)
    modules = mk.load_modules(of_any_size)
    everything = found["subtasks"][-1]
    expected = mk.metrics.reuse_accuracy(modules, range(10), data.x_test, data.y_test)
    assert everything["accuracy"] == pytest.approx(expected) and everything["flops"] is None
    assert "reuse accuracy" in run("evaluate", of_any_size, *TINY_DATA, "--subtasks", 9)
    chosen = ask("evaluate", of_any_size, *TINY_DATA, "--classes", "1,2")
    assert chosen["flops_share"] is None and chosen["size"] < 1


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (("cow",), "Unknown class. Expected an integer from 0 to 9 or one of ['0', '1'"),
        (("12",), "Unknown class"),
        (("1", "1"), "Duplicate class"),
    ],
)
def test_impossible_classes_are_refused(classes, message, trained, tmp_path):
    assert message in fail("compose", trained.modules, *classes, "-o", tmp_path / "a.keras")
    assert not (tmp_path / "a.keras").exists()


def test_evaluation_of_a_model(trained, data):
    found = ask("evaluate", trained.model, *TINY_DATA)
    model = keras.saving.load_model(trained.model)
    predicted = model.predict(data.x_test, verbose=0).argmax(axis=-1)
    assert found["accuracy"] == pytest.approx(np.mean(predicted == data.y_test))
    for index, accuracy in enumerate(found["accuracy_by_class"].values()):
        rows = data.y_test == index
        assert accuracy == pytest.approx(np.mean(predicted[rows] == index))


def test_evaluation_of_a_composed_model(trained, modules, data, tmp_path):
    run("compose", trained.modules, 8, 1, "-o", tmp_path / "small.keras")
    found = ask("evaluate", tmp_path / "small.keras", *TINY_DATA)
    expected = mk.metrics.reuse_accuracy(modules, [8, 1], data.x_test, data.y_test)
    assert found["accuracy"] == pytest.approx(expected)
    assert list(found["accuracy_by_class"]) == ["8", "1"]
    assert found["data"]["test_images"] == 8
    of_modules = ask("evaluate", trained.modules, *TINY_DATA, "--classes", "8", "1")
    assert of_modules["accuracy"] == found["accuracy"]
    full = mk.metrics.full_accuracy(modules.model, [8, 1], data.x_test, data.y_test)
    assert of_modules["full_accuracy"] == pytest.approx(full)


def test_images_of_other_classes_count_as_other(trained, modules, data, tmp_path):
    composed = ask("compose", trained.modules, 8, 1, "--other", "-o", tmp_path / "small.keras")
    assert (composed["classes"], composed["other"]) == (["8", "1"], "other")
    assert read_class_names(tmp_path / "small.keras") == ("8", "1", "other")
    found = ask("evaluate", tmp_path / "small.keras", *TINY_DATA)
    model = mk.compose(modules, [8, 1], other=True)
    predicted = model.predict(data.x_test, verbose=0).argmax(axis=-1)
    labels = np.array([{8: 0, 1: 1}.get(label, 2) for label in data.y_test])
    for position, name in enumerate(("8", "1", "other")):
        expected = np.mean(predicted[labels == position] == position)
        assert found["accuracy_by_class"][name] == pytest.approx(expected)
    assert found["accuracy"] == pytest.approx(np.mean(predicted == labels))
    expected = mk.metrics.reuse_accuracy(modules, [8, 1], data.x_test, data.y_test)
    assert found["accuracy_without_other"] == pytest.approx(expected)
    assert found["other"]["classes"] == list("02345679")
    assert found["data"]["test_images"] == len(data.y_test) == 40
    # Without such images there is nothing to say about "other".
    command = ("evaluate", tmp_path / "small.keras", *TINY_DATA, "--class-names", "1,8")
    assert "no images in this data" in run(*command)
    assert list(ask(*command)["accuracy_by_class"]) == ["8", "1"]
    assert "Expected --classes to be those of" in fail(*command, "--classes", "1,2")
    # Other commands do not take it for a class of the data.
    message = fail("decompose", tmp_path / "small.keras", *TINY_DATA, "-o", tmp_path / "a.modules")
    assert "Expected data with the classes of" in message


def test_other_has_a_name_that_no_class_has(modules, tmp_path):
    names = ("other", "other_1", *"23456789")
    mk.ModuleSet.from_units(modules.model, modules.units, class_names=names).save(tmp_path / "m")
    found = ask("compose", tmp_path / "m", 2, 3, "--other", "-o", tmp_path / "a.keras")
    assert found["other"] == "other_2"
    everything = (*names, "--other", "-o", tmp_path / "b.keras")
    assert "Leave out `other`" in fail("compose", tmp_path / "m", *everything)


@pytest.mark.parametrize(
    "arguments", [("--classes", "1", "8"), ("--class-names", "1,8"), ("--class-names", "1", "8")]
)
def test_class_names_travel_with_a_composed_model(arguments, trained, tmp_path):
    """Whatever order the classes are given in, the file knows the order of its outputs."""
    run("compose", trained.modules, "8,1", "-o", tmp_path / "small.keras")
    # All test images: a limit draws other images when fewer classes are loaded.
    all_images = ("--data", "digits")
    expected = ask("evaluate", tmp_path / "small.keras", *all_images)
    found = ask("evaluate", tmp_path / "small.keras", *all_images, *arguments)
    assert found["accuracy"] == expected["accuracy"]
    assert found["accuracy_by_class"] == expected["accuracy_by_class"]
    assert ask("info", tmp_path / "small.keras")["classes"] == ["8", "1"]
    assert read_class_names(trained.model) == tuple("0123456789")
    missing = ("--class-names", "0,1", "-o", tmp_path / "a.modules")
    assert "Expected data with the classes of" in fail(
        "decompose", tmp_path / "small.keras", *TINY_DATA, *missing
    )


def test_class_names_of_a_model_without_them_are_given(trained, tmp_path):
    run("compose", trained.modules, "8,1", "-o", tmp_path / "small.keras")
    keras.saving.load_model(tmp_path / "small.keras").save(tmp_path / "plain.keras")
    assert read_class_names(tmp_path / "plain.keras") is None
    assert "Expected data of 2 classes" in fail("evaluate", tmp_path / "plain.keras", *TINY_DATA)
    command = ("evaluate", tmp_path / "plain.keras", *TINY_DATA, "--classes", "8,1")
    expected = ask(*command)["accuracy"]
    assert expected == ask("evaluate", tmp_path / "small.keras", *TINY_DATA)["accuracy"]
    (tmp_path / "plain.keras.classes.json").write_text(json.dumps(["8", "1"]))
    assert ask(*command[:-2])["accuracy"] == expected


def test_evaluation_of_modules(trained, modules, data):
    found = ask("evaluate", trained.modules, *TINY_DATA, "--subtasks", 12)
    assert sum(row["subtasks"] for row in found["subtasks"]) >= 12 - 9
    assert [row["k"] for row in found["subtasks"]] == list(range(2, 11))
    everything = found["subtasks"][-1]
    x, y = data.x_test, data.y_test
    expected = mk.metrics.reuse_accuracy(modules, range(10), x, y)
    assert everything["accuracy"] == pytest.approx(expected)
    # Four test images of each class: the accuracy of all is the mean over classes.
    assert np.mean(list(found["accuracy_after"].values())) == pytest.approx(expected)
    full = mk.metrics.full_accuracy(modules.model, range(10), x, y)
    assert np.mean(list(found["accuracy_before"].values())) == pytest.approx(full)
    assert found["mean_overlap"] == pytest.approx(mk.metrics.mean_overlap(modules))
    assert "reuse accuracy" not in run("evaluate", trained.modules, *TINY_DATA, "--subtasks", 0)


def test_labels_are_those_of_the_modules(trained):
    all_images = ("--data", "digits", "--subtasks", 0)
    expected = ask("evaluate", trained.modules, *all_images)
    found = ask("evaluate", trained.modules, *all_images, "--class-names", "9,8,7,6,5,4,3,2,1,0")
    assert len(set(expected["accuracy_before"].values())) > 3
    assert found["accuracy_before"] == expected["accuracy_before"]
    message = fail("evaluate", trained.modules, *TINY_DATA, "--class-names", "0,1")
    assert "Expected data with the classes of" in message


def test_info(trained, modules):
    here = ask("info")
    assert here["backend"] == BACKEND and here["versions"]["keras"] == keras.__version__
    assert any("native" in line for line in here["native_status"])
    model, of_modules = ask("info", trained.model), ask("info", trained.modules)
    assert (model["kind"], of_modules["kind"]) == ("model", "modules")
    expected = [{"name": h.name, "units": h.units} for h in modules.hidden_activations]
    assert model["hidden_activations"] == of_modules["hidden_activations"] == expected
    assert of_modules["samples"] == [6] * 10
    assert of_modules["classes"] == list(modules.class_names)
    shown = run("info", trained.modules)
    assert all(hidden.name in shown for hidden in modules.hidden_activations)


def test_report_is_written_from_all_that_is_given(trained, tmp_path, monkeypatch):
    seen = {}

    def write(modules, path, **given):
        seen.update(given)
        path.write_text("page")

    monkeypatch.setattr("moda_keras.reporting.write_report", write)
    (tmp_path / "subtasks.csv").write_text("classes,accuracy\n0 1,0.5\n")
    given = ("--history", trained.log, "--subtasks-file", tmp_path / "subtasks.csv", "--title", "T")
    run("report", trained.modules, "-o", tmp_path / "a.html", *TINY_DATA, *given)
    assert seen["x_test"].shape == (40, 8, 8, 1) and seen["y_test"].shape == (40,)
    assert seen["title"] == "T" and seen["history"] == trained.log
    assert seen["subtask_rows"] == [{"classes": "0 1", "accuracy": 0.5}]
    run("report", trained.modules, "-o", tmp_path / "b.html")
    assert seen["title"] is None and seen["subtask_rows"] is None and seen["history"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("evaluate", "none.keras", *TINY_DATA), "There is no file 'none.keras'"),
        (("evaluate", ".", *TINY_DATA), "a folder"),
        (("evaluate", "LOG", *TINY_DATA), "Expected a Keras model file, as written by"),
        (("compose", "LOG", "1", "-o", "a.keras"), "Expected a module file"),
        (("compose", "MODEL", "1", "-o", "a.keras"), "which is a Keras model. Make a module file"),
        (("decompose", "MODULES", *TINY_DATA, "-o", "b.modules"), "which is a module file"),
        (("evaluate", "MODEL", *TINY_DATA, "--image-size", 16), "see --image-size"),
        (("evaluate", "MODEL", *TINY_DATA, "--class-names", "1,2"), "see --class-names"),
        (("evaluate", "MODEL", *TINY_DATA, "--classes", "1", "cow"), "Received: 1,cow"),
        (("evaluate", "MODULES", *TINY_DATA, "--classes", "1,cow"), "Unknown class"),
        (("evaluate", "MODULES", *TINY_DATA, "--synsets", "no.txt"), "There is no file 'no.txt'"),
        (("decompose", "MODEL", *TINY_DATA, "-o", "LOG"), "exists. Pass --force"),
        (("report", "MODULES", "-o", "a.pdf"), "ends in .html"),
        (("report", "MODULES", "-o", "a.html", "--history", "no.csv"), "no file 'no.csv'"),
        (("info", "LOG"), "Expected a Keras model file"),
    ],
)
def test_wrong_files_are_named(arguments, message, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = {"MODEL": trained.model, "MODULES": trained.modules, "LOG": trained.log}
    assert message in fail(*[files.get(each, each) for each in arguments])
    assert not os.listdir(tmp_path)


def test_damaged_files_are_named(trained, tmp_path):
    with zipfile.ZipFile(tmp_path / "bad.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    assert "bad.keras', which is not one or is damaged" in fail("info", tmp_path / "bad.keras")
    content = trained.model.read_bytes()
    (tmp_path / "half.keras").write_bytes(content[: len(content) // 2])
    assert "half.keras'" in fail("info", tmp_path / "half.keras")
    content = trained.modules.read_bytes()
    message = "half.modules', which is not one or is damaged"
    for share in (0.1, 0.5, 0.9, 0.999):
        (tmp_path / "half.modules").write_bytes(content[: int(share * len(content))])
        assert message in fail("info", tmp_path / "half.modules")
    assert message in fail("compose", tmp_path / "half.modules", 1, "-o", tmp_path / "a.keras")
