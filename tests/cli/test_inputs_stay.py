"""No command replaces a file that it reads, even with --force and under another name."""

import pytest
from command_line import fail
from small_models import mlp, random_modules

MESSAGE = "Expected an output other than the file that is read. Received: "
# In place of IN and OUT stand names of the same file; the others are never read.
COMMANDS = {
    "decompose": ("decompose", "IN", "--data", "digits", "-o", "OUT"),
    "tune": ("tune", "IN", "--data", "digits", "-o", "OUT"),
    "compose": ("compose", "IN", "1", "--format", "onnx", "-o", "OUT"),
    "compose, data": ("compose", "m", "1", "--data", "IN", "--format", "onnx", "-o", "OUT"),
    "slim": ("slim", "IN", "--classes", "1,2", "--data", "digits", "--size", "1", "-o", "OUT"),
    "slim, picture": (
        "slim", "IN", "--classes", "1,2", "--data", "digits", "--size", "1", "-o", "new.keras",
        "--picture", "OUT",
    ),
    "slim, data": (
        "slim", "m", "--classes", "1,2", "--data", "IN", "--size", "1", "--format", "onnx",
        "-o", "OUT",
    ),
    "replace, weak": ("replace", "IN", "m", "1", "--data", "digits", "-o", "OUT"),
    "replace, strong": ("replace", "m", "IN", "1", "--data", "digits", "-o", "OUT"),
    "replace, synsets": ("replace", "m", "n", "1", "--data", "x", "--synsets", "IN", "-o", "OUT"),
    "report": ("report", "IN", "-o", "OUT"),
    "report, history": ("report", "m", "--history", "IN", "-o", "OUT"),
    "train": ("train", "--model", "IN", "--data", "digits", "-o", "OUT"),
}  # fmt: skip
SUFFIXES = {"report": ".html", "report, history": ".html", "slim, picture": ".png"}


@pytest.mark.parametrize("name", COMMANDS)
def test_input_is_not_replaced(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    suffix = SUFFIXES.get(name, ".keras")
    path, link = tmp_path / f"read{suffix}", tmp_path / f"link{suffix}"
    path.write_text("precious")
    link.symlink_to(path)
    for output in (path, link):
        places = {"IN": path, "OUT": output}
        command = [places.get(each, each) for each in COMMANDS[name]]
        assert fail(*command, "--force") == f"Error: {MESSAGE}{str(output)!r}"
    assert path.read_text() == "precious"


@pytest.mark.parametrize("suffix", [".modules", ".csv"])
def test_other_outputs_of_a_training_replace_no_input(suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    path.write_text("precious")
    options = ("--data", "digits", "-o", tmp_path / "a.keras", "--force")
    assert MESSAGE in fail("train", "--model", path, *options)
    assert path.read_text() == "precious"


def test_model_that_modules_refer_to_is_not_replaced(tmp_path):
    model, path = mlp(), tmp_path / "whole.keras"
    model.save(path)
    random_modules(model).save(tmp_path / "a.modules", model_file=path)
    content = path.read_bytes()
    assert MESSAGE in fail("compose", tmp_path / "a.modules", "1", "2", "--force", "-o", path)
    options = ("--data", "digits", "--force", "-o", path)
    assert MESSAGE in fail("tune", tmp_path / "a.modules", *options)
    assert MESSAGE in fail("replace", path, tmp_path / "a.modules", "1", *options)
    assert path.read_bytes() == content
