"""Files of arrays as the data of every command."""

import numpy as np
import pytest
from command_line import TINY_DATA, ask, fail
from small_models import inputs_of, mlp

import moda_keras as mk
from moda_keras.cli.arrays import load_arrays
from moda_keras.cli.class_names import write_class_names


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The samples of TINY_DATA as arrays."""
    data = mk.datasets.load("digits", samples_per_class=6, test_samples_per_class=4)
    path = tmp_path_factory.mktemp("arrays") / "digits.npz"
    arrays = {name: getattr(data, name) for name in ("x_train", "y_train", "x_test", "y_test")}
    np.savez(path, **arrays)
    return path


def rounded(document):
    """A document of numbers that may differ by rounding, without what names its files."""
    if isinstance(document, dict):
        items = document.items()
        return {key: rounded(value) for key, value in items if key not in ("modules", "data")}
    if isinstance(document, list):
        return [rounded(each) for each in document]
    return round(document, 6) if isinstance(document, float) else document


@pytest.mark.parametrize(
    "command", [("evaluate", "model"), ("evaluate", "modules"), ("decompose", "model", "-o"),
                ("tune", "modules", "-o")],
)  # fmt: skip
def test_commands_find_with_arrays_what_they_find_with_the_same_images(
    command, digits, trained, tmp_path
):
    name, kind, *output = command
    output += [tmp_path / "out.modules", "--force"] if output else []
    found = ask(name, getattr(trained, kind), "--data", digits, *output)
    expected = ask(name, getattr(trained, kind), *TINY_DATA, *output)
    assert rounded(found) == rounded(expected)
    if name == "evaluate":
        assert found["data"] == expected["data"]


def test_report_and_train_take_arrays(digits, trained, small_model, tmp_path):
    page = tmp_path / "a.html"
    assert ask("report", trained.modules, "--data", digits, "-o", page)["with_accuracy"]
    few = ("--epochs", 1, "--samples-per-class", 2, "-o", tmp_path / "a.keras")
    found = ask("train", "--model", small_model, "--data", digits, *few)
    assert found["data"]["train_images"] == 20


def test_vectors_are_data_too(tmp_path):
    model = mlp()
    x = inputs_of(model, 40)
    y = model.predict(x, verbose=0).argmax(axis=-1)
    model.save(tmp_path / "a.keras")
    write_class_names(tmp_path / "a.keras", ["cat", "dog", "cow"])
    wrong = np.where(np.arange(40) < 10, (y + 1) % 3, y)
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y, x_test=x, y_test=wrong)
    found = ask("evaluate", tmp_path / "a.keras", "--data", tmp_path / "a.npz")
    assert found["accuracy"] == pytest.approx(30 / 40)
    assert list(found["accuracy_by_class"]) == ["cat", "dog", "cow"]
    assert found["accuracy_by_class"]["dog"] == pytest.approx(
        sum(w == y[i] for i, w in enumerate(wrong) if w == 1) / sum(wrong == 1)
    )


NUMBERS, NAMES = ["0", "1", "2"], ["cat", "dog", "cow"]


@pytest.mark.parametrize(
    ("labels", "asked", "outputs", "names", "of_first"),
    [
        ("integers", None, None, NUMBERS, 0),
        ("integers", None, NAMES, NAMES, 0),
        ("one-hot", None, NAMES, NAMES, 0),
        ("integers", NAMES, ["x", "y", "z"], NAMES, 0),
        ("integers", ["2", "0"], None, ["2", "0"], 2),  # numbers choose
        ("integers", ["2", "0", "1"], None, ["2", "0", "1"], 2),
        ("integers", None, ["2", "0"], NUMBERS, 0),  # of the model: its classes are chosen later
        ("integers", None, ["cat", "dog"], NUMBERS, 0),  # too few to be these
        ("names", None, NAMES, sorted(NAMES), "cat"),
        ("names", ["dog", "cat"], NAMES, ["dog", "cat"], "dog"),
    ],
)
def test_names_of_labels(labels, asked, outputs, names, of_first, tmp_path):
    y = np.arange(30) % 3
    x = np.arange(30.0)
    given = {"integers": y, "one-hot": np.eye(3)[y], "names": np.array(NAMES)[y]}[labels]
    np.savez(tmp_path / "a.npz", x=x, y=given)
    data = load_arrays(
        tmp_path / "a.npz", class_names=asked, outputs=outputs, limits=(None, 1),
        test_fraction=0.2, seed=0,
    )  # fmt: skip
    assert list(data.class_names) == names
    label_of_first = NAMES.index(of_first) if isinstance(of_first, str) else of_first
    first = np.concatenate([data.x_train[data.y_train == 0], data.x_test[data.y_test == 0]])
    assert {int(each) % 3 for each in first} == {label_of_first}
    assert len(data.y_test) == len(names) and len(data.y_train) == 8 * len(names)
    assert not set(data.x_train) & set(data.x_test)


def test_what_arrays_cannot_be_is_said(digits, small_model, tmp_path):
    def message(*options, **arrays):
        np.savez(tmp_path / "a.npz", **arrays)
        return fail("evaluate", small_model, "--data", tmp_path / "a.npz", *options)

    x, y = np.zeros((20, 8, 8, 1)), np.arange(20) % 10
    assert "Expected arrays with labels" in message(x=x)
    assert "Only moda slim and the repair of moda compose" in message(x=x)
    assert "Leave out --image-size" in message("--image-size", 8, x=x, y=y)
    assert "multi-hot labels, 20 of 20" in message(x=x, y=np.ones((20, 10)))
    assert "Received: labels up to 1,000,000,000" in message(x=x, y=y + 10**9 - 9)
    assert "from -1 to 8" in message(x=x, y=y - 1)
    assert "Expected data of 10 classes" in message(x=x, y=y % 9)
    assert "distinct names out of ['0'" in message("--class-names", "a,b", x=x, y=y)
    assert "Expected images of shape (8, 8, 1)" in message(x=x[:, :4], y=y)


def test_folders_without_class_folders_are_named(small_model, tmp_path):
    for name, what in ((tmp_path, "a folder without class folders"), (small_model, "a file")):
        said = fail("evaluate", small_model, "--data", name)
        assert f"Received: name={str(name)!r}, {what}" in said and "Unknown" not in said
    with pytest.raises(IsADirectoryError, match="which is a folder"):
        mk.load_modules(tmp_path)
