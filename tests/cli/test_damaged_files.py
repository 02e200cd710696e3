"""Files with the right form and the wrong content."""

import io
import json
import shutil
import zipfile

import keras
import numpy as np
import pytest
from command_line import TINY_DATA, ask, fail, run


def rewritten(path, source, **members):
    """A copy of an archive with other members; their names have _ for the dot."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        contents = {name: old.read(name) for name in old.namelist()}
        contents |= {name.replace("__", "."): content for name, content in members.items()}
        for name, content in contents.items():
            new.writestr(name, content)
    return path


def with_manifest(path, source, **changes):
    with zipfile.ZipFile(source) as archive:
        manifest = json.loads(archive.read("manifest.json"))
    return rewritten(path, source, manifest__json=json.dumps({**manifest, **changes}))


def with_arrays(path, source, **changes):
    with zipfile.ZipFile(source) as archive:
        arrays = dict(np.load(io.BytesIO(archive.read("arrays.npz"))))
    buffer = io.BytesIO()
    np.savez(buffer, **arrays | changes)
    return rewritten(path, source, arrays__npz=buffer.getvalue())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": "two"}, "its manifest has entries of other types"),
        ({"epsilons": "none"}, "its manifest has entries of other types"),
        ({"class_names": "0123456789"}, "its manifest has entries of other types"),
        ({"class_names": ["a", "b"]}, "of shape (10, 16) instead of (classes, units), with 2"),
        ({"class_names": ["\x1b[31m", *"012345678"]}, "no printable texts"),
        ({"threshold": float("nan")}, "in [0, 1]"),
        ({"activations": ["other"]}, "instead of shape (10, 16))"),
    ],
)
def test_manifest_with_other_entries(changes, message, trained, tmp_path):
    assert message in fail(
        "info", with_manifest(tmp_path / "x.modules", trained.modules, **changes)
    )


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (np.zeros((10, 15), int), "a table of shape (10, 15) for"),
        (np.zeros((9, 16), int), "of shape (9, 16) instead of"),
        (np.full((10, 16), 99), "from 0 to 6 for class 0. Received: 99"),
        (np.full((10, 16), 0.5), "whole numbers"),
    ],
)
def test_tables_of_another_model(table, message, trained, tmp_path):
    path = with_arrays(tmp_path / "x.modules", trained.modules, activation_0=table)
    assert message in fail("compose", path, "1", "2", "-o", tmp_path / "a.keras")


def test_modules_of_classes_without_samples_are_described(trained, tmp_path):
    tables = {"activation_0": np.zeros((10, 16), int), "sample_counts": np.zeros(10, int)}
    path = with_arrays(tmp_path / "x.modules", trained.modules, **tables)
    assert "0: no class has samples" in run("info", path)


@pytest.mark.parametrize("content", ["{not json", "5", '"0123456789"', "[null, 1]", b"\xff\xfe"])
def test_class_names_that_are_none(content, trained, small_model, tmp_path):
    inside = rewritten(tmp_path / "inside.keras", trained.model, class_names__json=content)
    beside = tmp_path / "beside.keras"
    shutil.copy(small_model, beside)
    content = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "beside.keras.classes.json").write_bytes(content)
    for path in (inside, beside):
        assert "Expected class names as a JSON list of texts" in fail("info", path)


def test_class_names_may_be_numbers(small_model, tmp_path):
    path = tmp_path / "digits.keras"
    shutil.copy(small_model, path)
    (tmp_path / "digits.keras.classes.json").write_text(json.dumps(list(range(10))))
    assert ask("info", path)["classes"] == list("0123456789")


@pytest.mark.parametrize("refer", [(), ("--refer",)])
def test_model_is_not_replaced_by_its_modules(refer, small_model, tmp_path):
    path = tmp_path / "model.keras"
    shutil.copy(small_model, path)
    message = fail("decompose", path, *TINY_DATA, *refer, "-o", path, "--force")
    assert "an output other than the file that is read" in message
    assert path.read_bytes() == small_model.read_bytes()


@pytest.mark.parametrize("outputs", [(1,), (10, 10)])
def test_models_of_other_outputs_are_named(outputs, tmp_path):
    image = keras.Input((8, 8, 1))
    x = keras.layers.Dense(4, activation="relu")(keras.layers.Flatten()(image))
    model = keras.Model(image, [keras.layers.Dense(width)(x) for width in outputs])
    model.save(tmp_path / "odd.keras")
    for command in (("evaluate",), ("decompose", "-o", tmp_path / "a.modules")):
        name, *options = command
        message = fail(name, tmp_path / "odd.keras", *TINY_DATA, *options)
        assert "Expected a model with one output of shape (batch, classes)" in message


@pytest.mark.parametrize(
    ("option", "content", "message"),
    [
        ("--history", b"epoch,loss\n1,2,3,4\n", "Received: 2 more in row 1"),
        ("--history", b"\xff\xfe\x00", "text in UTF-8"),
        ("--subtasks-file", b"classes,accuracy\n0 1\n", "a row without, number 1"),
        ("--subtasks-file", b"classes,accuracy\n", "without a row"),
    ],
)
def test_tables_that_are_none(option, content, message, trained, tmp_path):
    (tmp_path / "table.csv").write_bytes(content)
    arguments = ("-o", tmp_path / "a.html", option, tmp_path / "table.csv")
    assert message in fail("report", trained.modules, *arguments)
