"""`moda slim`: any trained model, images or arrays, with or without labels."""

import importlib.util
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from command_line import TINY_DATA, ask, fail, invoke, run

import moda_keras as mk
from moda_keras.cli.class_names import read_class_names
from moda_keras.datasets.image_folder import find_unlabelled_images, read_images

NAMES = ",".join("0123456789")
CHOSEN = [7, 0, 3]


@pytest.fixture(scope="module")
def model(trained):
    return keras.saving.load_model(trained.model, compile=False)


@pytest.fixture(scope="module")
def data():
    """The samples of TINY_DATA, and those of the chosen classes with the labels of the model."""
    digits = mk.datasets.load("digits", samples_per_class=6, test_samples_per_class=4)
    train, test = (np.isin(y, CHOSEN) for y in (digits.y_train, digits.y_test))
    return digits.x_train[train], digits.y_train[train], digits.x_test[test], digits.y_test[test]


@pytest.fixture(scope="module")
def files(trained, model, tmp_path_factory):
    """The model as an HDF5 file without names that takes values to 255, and images in folders."""
    folder = tmp_path_factory.mktemp("files")
    inputs, rescaling = keras.Input((8, 8, 1)), keras.layers.Rescaling(1 / 255)
    wants_bytes = keras.Sequential([inputs, rescaling, *model.layers[1:]])
    wants_bytes.save(folder / "bytes.h5")
    keras.Model(model.input, model.output).save(folder / "plain.h5")
    digits = mk.datasets.load("digits", samples_per_class=12, test_samples_per_class=4)
    (folder / "flat").mkdir()
    for index, (image, label) in enumerate(zip(digits.x_train, digits.y_train, strict=True)):
        if label < 5:
            (folder / "labelled" / str(label)).mkdir(parents=True, exist_ok=True)
            path = folder / "flat" / f"{index}.png"
            keras.utils.save_img(path, image * 255, scale=False)
            shutil.copy(path, folder / "labelled" / str(label))
    return folder


def trainable(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def by_hand(model, data, share, *, repaired):
    """The slim model and its modules from the library alone."""
    x, y, _, _ = data
    names = [str(digit) for digit in range(10)]
    with pytest.warns(UserWarning, match="no sample of the classes"):
        modules = mk.decompose(model, x, y, criterion="importance", class_names=names, verbose=0)
    found = modules.within(parameters=share, classes=CHOSEN, calibration_data=x)
    return mk.compose(found, CHOSEN, **({"calibration_data": x} if repaired else {}))


def test_numbers_and_model_are_the_library_s(trained, model, data, tmp_path):
    found = ask(
        "slim", trained.model, "--classes", "7", "0", "3", *TINY_DATA, "--size", 0.5,
        "-o", tmp_path / "small.keras",
    )  # fmt: skip
    models = {
        "full": model,
        "head only": mk.compose(mk.ModuleSet.from_units(model, {}), CHOSEN),
        "slim": by_hand(model, data, 0.5, repaired=False),
        "repaired": by_hand(model, data, 0.5, repaired=True),
    }
    x, y = data[2:]
    full = model.predict(x, verbose=0)[:, CHOSEN].argmax(axis=-1)
    assert [row["model"] for row in found["models"]] == list(models)
    for row in found["models"]:
        each = models[row["model"]]
        scores = each.predict(x, verbose=0)
        best = (scores[:, CHOSEN] if row["model"] == "full" else scores).argmax(axis=-1)
        right = [CHOSEN[index] == label for index, label in zip(best, y, strict=True)]
        assert row["accuracy"] == pytest.approx(sum(right) / len(right))
        assert row["agreement"] == pytest.approx(np.mean(best == full))
        assert row["parameters"] == trainable(each)
        assert row["size"] == pytest.approx(trainable(each) / trainable(model))
        assert row["flops"] == mk.metrics.count_flops(each)
        assert row["flops_share"] == pytest.approx(row["flops"] / mk.metrics.count_flops(model))
        assert row["milliseconds"] > 0
    written = keras.saving.load_model(tmp_path / "small.keras")
    np.testing.assert_allclose(
        written.predict(x, verbose=0), models["repaired"].predict(x, verbose=0), atol=1e-4
    )
    assert read_class_names(tmp_path / "small.keras") == ("7", "0", "3")
    assert found["samples"] == {"importance": 18, "calibration": 18, "test": 12}
    assert found["labels"] and found["curve"] == []


def test_hdf5_file_that_wants_bytes_and_a_folder_of_some_classes(files, trained, tmp_path):
    common = ("--classes", "3,1", "--data", files / "labelled", "--size", 0.5)
    named = ("--class-names", NAMES)
    output = ("--force", "-o", tmp_path / "small.keras")
    wanted = ask("slim", files / "bytes.h5", *common, *named, "--pixels", "0-255", *output)
    expected = ask("slim", trained.model, *common, *output)
    for one, other in zip(wanted["models"], expected["models"], strict=True):
        for key in ("parameters", "accuracy", "agreement"):
            assert one[key] == pytest.approx(other[key])
    assert wanted["classes"] == ["3", "1"]
    assert wanted["samples"]["test"] == 2 * round(0.2 * 12)


def test_folder_without_labels(files, model, tmp_path):
    command = ("slim", files / "plain.h5", "--classes", "4,2", "--data", files / "flat")
    found = ask(*command, "--size", 0.5, "-o", tmp_path / "small.keras")
    train, test = find_unlabelled_images(files / "flat", 0.2, 0)
    predicted = {}
    for kind, paths in (("calibration", train), ("test", test)):
        x = read_images(paths, None, "grey")
        scores = model.predict(x, verbose=0)
        rows = np.isin(scores.argmax(axis=-1), [4, 2])
        predicted[kind] = x[rows], scores[rows][:, [4, 2]].argmax(axis=-1)
    assert {kind: len(y) for kind, (_, y) in predicted.items()} | {
        "importance": len(predicted["calibration"][1])
    } == found["samples"]
    x, y = predicted["test"]
    small = keras.saving.load_model(tmp_path / "small.keras")
    agreement = np.mean(small.predict(x, verbose=0).argmax(axis=-1) == y)
    assert found["models"][-1]["agreement"] == pytest.approx(agreement)
    assert {row["accuracy"] for row in found["models"]} == {None} and not found["labels"]
    shown = run(*command, "--size", 0.5, "--force", "-o", tmp_path / "small.keras")
    assert "agreement" in shown and "accuracy" not in shown


@pytest.mark.parametrize("labels", ["indices", "one-hot", "none", "not split"])
def test_arrays(labels, trained, data, tmp_path):
    x_train, y_train, x_test, y_test = data
    arrays = {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}
    if labels == "one-hot":
        arrays |= {"y_train": np.eye(10)[y_train], "y_test": np.eye(10)[y_test]}
    elif labels == "none":
        arrays = {"x_train": x_train, "x_test": x_test}
    elif labels == "not split":
        arrays = {"x": np.concatenate([x_train, x_test]), "y": np.concatenate([y_train, y_test])}
    np.savez(tmp_path / "arrays.npz", **arrays)
    output = ("--size", 0.5, "-o", tmp_path / "small.keras")
    found = ask("slim", trained.model, "--classes", "7,0,3", "--data", tmp_path / "arrays.npz",
                *output)  # fmt: skip
    images = ask("slim", trained.model, "--classes", "7,0,3", *TINY_DATA, *output, "--force")
    assert found["labels"] == (labels != "none")
    if labels == "not split":
        assert found["samples"] == {"importance": 24, "calibration": 24, "test": 6}
    elif labels != "none":
        for one, other in zip(found["models"], images["models"], strict=True):
            assert one["accuracy"] == pytest.approx(other["accuracy"])


def test_curve_and_picture(trained, tmp_path):
    command = ("slim", trained.model, "--classes", "7,0", *TINY_DATA)
    picture, output = tmp_path / "curve.png", tmp_path / "small.keras"
    found = ask(*command, "--flops", 0.6, "--picture", picture, "--curve", "0.9", "0.6", "0.4",
                "-o", output)  # fmt: skip
    assert [(row["model"], row["budget"]) for row in found["curve"]] == [
        ("slim", 0.9), ("repaired", 0.9), ("slim", 0.4), ("repaired", 0.4)
    ]  # fmt: skip
    assert all(row["flops_share"] <= row["budget"] for row in found["curve"])
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "curve.png' exists" in fail(*command, "--size", 0.5, "--picture", picture, "-o",
                                       tmp_path / "other.keras")  # fmt: skip
    shown = run(*command, "--size", 0.5, "--curve", "auto", "-o", output, "--force",
                "--calibration-samples", 0)  # fmt: skip
    assert "Other sizes" in shown and "slim and repaired" in shown
    assert f"Wrote {output}." in shown


@pytest.mark.parametrize(
    ("budget", "name", "value"),
    [("--latency-ms", "latency_ms", 1e6), ("--max-accuracy-loss", "max_accuracy_loss", 0.9)],
)
def test_other_budgets(budget, name, value, trained, tmp_path):
    output = ("-o", tmp_path / "small.keras", "--batch-size", 4)
    command = ("slim", trained.model, "--classes", "7,0,3", *TINY_DATA)
    found = ask(*command, budget, value, *output)
    assert found["budget"] == {name: value}
    slim = found["models"][2]
    if name == "latency_ms":  # which the whole model meets
        assert slim["parameters"] == found["models"][1]["parameters"]
    else:  # half of the samples are not for repair, so that accuracy is measured on them
        assert found["samples"]["calibration"] == 9 and slim["size"] < 0.9


def test_latency_that_cannot_be_met_is_that_of_a_sample(trained, tmp_path):
    """Half of what a batch of two needs."""
    command = ("slim", trained.model, "--classes", "7,0,3", *TINY_DATA, "--batch-size", 2)
    message = fail(*command, "--latency-ms", 1e-4, "-o", tmp_path / "small.keras")
    assert "Received: --latency-ms 0.0001, where the smallest" in message
    assert float(message.split()[-1]) < 1000


def test_class_order_that_is_wrong_is_noticed(files, tmp_path):
    command = ("slim", files / "plain.h5", "--classes", "3,1", "--data", files / "labelled")
    command += ("--size", 0.9, "-o", tmp_path / "small.keras", "--force", "--class-names")
    result = invoke(*command, "8,9,0,1,2,3,4,5,6,7")
    assert result.exit_code == 0, result.output
    assert "close to chance. Is --pixels right" in result.stderr
    assert "Warning" not in invoke(*command, NAMES).stderr


def test_other_formats(trained, tmp_path, monkeypatch):
    def export(model, path, format, verbose):
        Path(path).write_text(f"{format} of {model.output_shape}")

    output = tmp_path / "small.onnx"
    command = ("slim", trained.model, "--classes", "1,2", *TINY_DATA, "--size", 0.5, "-o", output)
    find = importlib.util.find_spec
    found = {"onnx": "found", "onnxscript": "found"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: found.get(name) or find(name))
    monkeypatch.setattr(keras.Model, "export", export)
    assert ask(*command)["format"] == "onnx"
    assert output.read_text() == "onnx of (None, 2)"
    assert read_class_names(output) == ("1", "2")
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "onnx" else find(name)
    )
    # Before the data is read.
    command = ("slim", trained.model, "--classes", "1", "--data", "no", "--size", 0.5, "--force")
    message = fail(*command, "-o", output)
    assert "(onnx). Install them with: pip install onnx" in message
    assert "exists. Pass --force" in fail(*command[:-1], "-o", output)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--classes", "cow", "--size", 0.5), "Unknown class. Expected an integer from 0 to 9"),
        (("--classes", "1,1", "--size", 0.5), "Duplicate class"),
        (("--classes", "1,2", "--size", 0.001), "can be met. Received: --size 0.001, where the"),
        (("--classes", "1,2", "--flops", 0.001), "can be met. Received: --flops 0.001, where the"),
        (("--classes", "1,2", "--size", 0.9, "--curve", "0.002"), "Received: --curve 0.002, where"),
        (("--classes", "1,2", "--size", 0.5, "--class-names", "1,2"), "Expected 10 classes"),
    ],
)
def test_impossible_wishes_are_refused(options, message, trained, tmp_path):
    assert message in fail("slim", trained.model, *TINY_DATA, *options, "-o", tmp_path / "a.keras")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "Choose exactly one of --size, --flops"),
        (("--size", 0.5, "--flops", 0.5), "Choose exactly one"),
        (
            ("--size", 15),
            "Expected --size in (0, 1], a share of the full model's, such as 0.3. "
            "Received: --size 15",
        ),
        (("--flops", 0), "Expected --flops in (0, 1]"),
        (("--latency-ms", "nan"), "Expected --latency-ms to be a positive number"),
        (("--max-accuracy-loss", 1), "Expected --max-accuracy-loss in [0, 1)"),
        (("--size", 0.5, "--curve", "small"), "Expected --curve to be auto or numbers"),
        (("--size", 0.5, "--curve", "0.5,2"), "Expected --curve"),
    ],
)
def test_usage_errors(options, message, trained, tmp_path):
    output = ("-o", tmp_path / "a.keras")
    command = ("slim", trained.model, "--classes", "1,2", *TINY_DATA, *options, *output)
    assert message in fail(*command, code=2)


def test_unsuitable_data_is_refused(files, trained, data, tmp_path):
    def message(path, *options, classes="7,0"):
        output = ("--size", 0.5, "-o", tmp_path / "a.keras")
        return fail("slim", trained.model, "--classes", classes, "--data", path, *options, *output)

    assert "Expected data with the classes 9, 0. Received: 0, 1, 2" in message(
        files / "labelled", classes="9,0"
    )
    (tmp_path / "empty").mkdir()
    assert "Expected images (" in message(tmp_path / "empty")
    path = tmp_path / "arrays.npz"
    assert "There is no file" in message(path)
    path.write_bytes(b"nothing")
    assert "Expected a file of arrays" in message(path)
    np.savez(path, x=data[0], labels=data[1])
    assert "--pixels, or give a folder" in message(path, "--pixels", "0-255")
    np.savez(path, x_train=data[0], y_train=data[1])
    assert "Expected the arrays x_train, x_test, y_train and y_test" in message(path)
    np.savez(path, x=data[0][:, :4], y=data[1])
    assert "Expected images of shape (8, 8, 1)" in message(path)
    np.savez(path, x=data[0], y=data[1])
    assert "Expected training samples of every chosen class. Received: none of 9" in message(
        path, classes="9,0"
    )
    one = data[0][data[1] == 7][:3]
    np.savez(path, x=one)
    assert "that the model takes for" in message(path, classes="5,7")
