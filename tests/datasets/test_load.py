import dataclasses
import inspect
import sys
import typing

import keras
import numpy as np
import pytest

from moda_keras import datasets


def write_image(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    keras.utils.save_img(path, pixels, data_format="channels_last", scale=False)


@pytest.fixture
def folder(tmp_path):
    """Three classes; each image has one color, which encodes split, class and number."""
    for split, (red, samples) in {"train": (0, 4), "test": (255, 2)}.items():
        for index, name in enumerate(["ant", "bee", "cow"]):
            for number in range(samples):
                pixels = np.full((6, 8, 3), (red, 50 * index, 10 * number), dtype="uint8")
                write_image(tmp_path / split / name / f"{number}.png", pixels)
    return tmp_path


def colors(images):
    """The color of each image, as the integers that were written."""
    assert (images == images[:, :1, :1]).all()
    return np.rint(images[:, 0, 0] * 255).astype(int)


def test_folder_gives_every_image_with_the_label_of_its_class(folder):
    data = datasets.load(folder)

    assert data.class_names == ("ant", "bee", "cow")
    assert data.x_train.shape == (12, 6, 8, 3)
    assert data.x_test.shape == (6, 6, 8, 3)
    assert data.x_train.dtype == data.x_test.dtype == "float32"
    assert data.y_train.dtype == data.y_test.dtype == "int32"
    for images, labels, red, samples in [
        (data.x_train, data.y_train, 0, 4),
        (data.x_test, data.y_test, 255, 2),
    ]:
        rows = [tuple(color) for color in colors(images)]
        assert sorted(rows) == [(red, 50 * i, 10 * j) for i in range(3) for j in range(samples)]
        assert [50 * label for label in labels] == [green for _, green, _ in rows]


def test_path_may_be_a_string(folder):
    assert len(datasets.load(str(folder)).y_train) == 12


def test_class_names_choose_and_order_the_classes(folder):
    data = datasets.load(folder, class_names=["cow", "ant"])

    assert data.class_names == ("cow", "ant")
    assert set(colors(data.x_train)[data.y_train == 0, 1]) == {100}
    assert set(colors(data.x_train)[data.y_train == 1, 1]) == {0}
    assert sorted(data.y_test) == [0, 0, 1, 1]


def test_samples_per_class_limits_each_split(folder):
    data = datasets.load(folder, samples_per_class=3, test_samples_per_class=1)

    assert np.bincount(data.y_train).tolist() == [3, 3, 3]
    assert np.bincount(data.y_test).tolist() == [1, 1, 1]


def test_more_samples_than_there_are_gives_all(folder):
    assert len(datasets.load(folder, samples_per_class=100).y_train) == 12


def test_seed_fixes_choice_and_order(folder):
    first, again, other = (
        datasets.load(folder, samples_per_class=2, seed=seed) for seed in (1, 1, 2)
    )

    np.testing.assert_array_equal(first.x_train, again.x_train)
    np.testing.assert_array_equal(first.y_train, again.y_train)
    assert (first.x_train != other.x_train).any()


def test_training_samples_are_mixed(folder):
    labels = datasets.load(folder).y_train

    assert (np.diff(labels) < 0).any()


def test_image_size_resizes_a_folder(folder):
    write_image(folder / "train" / "ant" / "large.jpg", np.zeros((20, 30, 3), dtype="uint8"))

    assert datasets.load(folder, image_size=10).x_train.shape == (13, 10, 10, 3)
    assert datasets.load(folder, image_size=(4, 5)).x_test.shape == (6, 4, 5, 3)


def test_images_of_different_size_ask_for_image_size(folder):
    write_image(folder / "train" / "ant" / "large.png", np.zeros((20, 30, 3), dtype="uint8"))

    with pytest.raises(ValueError, match=r"\(6, 8, 3\).*Pass `image_size`"):
        datasets.load(folder)


def test_test_images_of_another_size_ask_for_image_size(folder):
    for path in (folder / "test").glob("*/*.png"):
        write_image(path, np.zeros((3, 3, 3), dtype="uint8"))

    with pytest.raises(ValueError, match=r"\(6, 8, 3\) and \(3, 3, 3\).*Pass `image_size`"):
        datasets.load(folder)


def test_grey_folder_has_one_channel(folder):
    data = datasets.load(folder, color="grey", class_names=["cow"], samples_per_class=1)

    assert data.x_train.shape == (1, 6, 8, 1)


def test_channels_first_moves_the_channels(folder, channels_first):
    data = datasets.load(folder)
    digits = datasets.load("digits", color="rgb")

    assert data.x_train.shape == (12, 3, 6, 8)
    assert digits.x_train.shape == (1437, 3, 8, 8)


def test_other_files_are_ignored(folder):
    (folder / "train" / "ant" / "notes.txt").write_text("ants")
    (folder / "train" / "README").write_text("three classes")
    (folder / "train" / ".cache").mkdir()
    write_image(folder / "train" / ".cache" / "0.png", np.zeros((6, 8, 3), dtype="uint8"))

    data = datasets.load(folder)

    assert data.class_names == ("ant", "bee", "cow")
    assert len(data.y_train) == 12


def test_broken_image_is_named(folder):
    (folder / "train" / "ant" / "broken.png").write_bytes(b"not a picture")

    with pytest.raises(ValueError, match=r"cannot be read: .*broken\.png"):
        datasets.load(folder)


def test_missing_pillow_is_named(folder, monkeypatch):
    def load_img(*arguments, **options):
        raise ImportError("Could not import PIL.Image.")

    monkeypatch.setattr(keras.utils, "load_img", load_img)
    with pytest.raises(ImportError, match=r'pip install "moda-keras\[data\]"'):
        datasets.load(folder)


@pytest.mark.parametrize("class_names", [["dog"], ["ant", "ant"], [], "ant"])
def test_invalid_class_names_raise(folder, class_names):
    with pytest.raises(ValueError, match=r"distinct names out of \['ant', 'bee', 'cow'\]"):
        datasets.load(folder, class_names=class_names)


def test_class_without_test_images_raises_unless_left_out(folder):
    write_image(folder / "train" / "dog" / "0.png", np.zeros((6, 8, 3), dtype="uint8"))

    with pytest.raises(ValueError, match=r"no test images of \['dog'\]"):
        datasets.load(folder)
    assert datasets.load(folder, class_names=["ant", "bee"]).class_names == ("ant", "bee")


def test_class_without_training_images_raises_unless_left_out(folder):
    write_image(folder / "test" / "dog" / "0.png", np.zeros((6, 8, 3), dtype="uint8"))
    (folder / "train" / "elk").mkdir()

    with pytest.raises(ValueError, match=r"no training images of \['dog', 'elk'\]"):
        datasets.load(folder)
    assert datasets.load(folder, class_names=["ant", "bee"]).class_names == ("ant", "bee")


@pytest.mark.parametrize("flat", ["train", "."])
def test_folder_without_test_images_is_split(folder, flat):
    for path in (folder / "test").glob("*/*.png"):
        path.unlink()
    for each in (folder / "test").iterdir():
        each.rmdir()
    (folder / "test").rmdir()
    root = folder / "train" if flat == "." else folder

    data = datasets.load(root, test_fraction=0.25, seed=1)

    assert data.class_names == ("ant", "bee", "cow")
    assert np.bincount(data.y_test).tolist() == [1, 1, 1]
    assert len(data.y_train) == 9
    images = {image.tobytes() for image in (*data.x_train, *data.x_test)}
    again = datasets.load(root, test_fraction=0.25, seed=1)
    np.testing.assert_array_equal(again.x_test, data.x_test)
    assert len(images) == 12


def test_folder_without_images_raises(tmp_path):
    (tmp_path / "train" / "ant").mkdir(parents=True)
    (tmp_path / "test" / "ant").mkdir(parents=True)

    with pytest.raises(ValueError, match=r"Received: no images in .*train"):
        datasets.load(tmp_path)


def test_unknown_name_raises():
    with pytest.raises(ValueError, match=r"Unknown data set.*Received: name='mnits'"):
        datasets.load("mnits")


def test_digits_are_the_scans_scaled_to_one():
    from sklearn.datasets import load_digits

    data = datasets.load("digits")
    images = np.concatenate([data.x_train, data.x_test])[..., 0]
    labels = np.concatenate([data.y_train, data.y_test])
    scans = load_digits()

    assert data.class_names == tuple("0123456789")
    found = {
        (image * 16).astype(int).tobytes(): label
        for image, label in zip(images, labels, strict=True)
    }
    for image, label in zip(scans.images.astype(int), scans.target, strict=True):
        assert found[image.tobytes()] == label


def test_digits_split_keeps_the_share_of_each_class():
    data = datasets.load("digits", test_fraction=0.25)
    train, test = np.bincount(data.y_train), np.bincount(data.y_test)

    assert train.sum() + test.sum() == 1797
    np.testing.assert_allclose(test / (train + test), 0.25, atol=0.01)


def test_digits_of_chosen_classes_are_those_of_the_full_split():
    every = datasets.load("digits")
    chosen = datasets.load("digits", class_names=["7", "2"])

    for label, digit in enumerate([7, 2]):
        expected = {image.tobytes() for image in every.x_test[every.y_test == digit]}
        assert {image.tobytes() for image in chosen.x_test[chosen.y_test == label]} == expected


def test_digits_are_enlarged_bilinearly():
    small = datasets.load("digits").x_train[..., 0].astype("float64")
    large = datasets.load("digits", image_size=16).x_train[..., 0]

    edge = np.pad(small, ((0, 0), (1, 1), (1, 1)), mode="edge")
    for row, column in [(0, 0), (5, 8), (15, 3)]:
        # A pixel of twice the resolution lies a quarter of a pixel from its nearest neighbour.
        i, j = row // 2 + 1, column // 2 + 1
        k, m = i + (1 if row % 2 else -1), j + (1 if column % 2 else -1)
        expected = 0.75 * (0.75 * edge[:, i, j] + 0.25 * edge[:, i, m])
        expected += 0.25 * (0.75 * edge[:, k, j] + 0.25 * edge[:, k, m])
        np.testing.assert_allclose(large[:, row, column], expected, atol=1e-6)


def test_rgb_digits_repeat_the_channel():
    data = datasets.load("digits", image_size=(16, 20), color="rgb", samples_per_class=2)

    assert data.x_train.shape == (20, 16, 20, 3)
    assert (data.x_train == data.x_train[..., :1]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 33}, "from 8 to 32"),
        ({"image_size": 0}, "Expected `image_size` to be a positive integer"),
        ({"image_size": (8, 8, 3)}, "Expected `image_size` to be a positive integer"),
        ({"color": "blue"}, 'Expected `color` to be "grey" or "rgb"'),
        ({"samples_per_class": 0}, "Expected `samples_per_class` to be a positive integer"),
        (
            {"test_samples_per_class": -1},
            "Expected `test_samples_per_class` to be a positive integer",
        ),
        ({"test_fraction": 1.0}, "Expected `test_fraction` between 0 and 1"),
    ],
)
def test_invalid_arguments_raise(options, message):
    with pytest.raises(ValueError, match=message):
        datasets.load("digits", **options)


def test_missing_scikit_learn_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)

    with pytest.raises(ImportError, match=r"moda-keras\[data\]"):
        datasets.load("digits")


def test_settings_are_the_arguments_of_load():
    expected = inspect.signature(datasets.load).parameters
    names = {"name": "data", "seed": "data_seed"}
    defaults = {field.name: field.default for field in dataclasses.fields(datasets.DataSettings)}
    assert list(defaults) == [names.get(name, name) for name in expected]
    for name, parameter in expected.items():
        if name != "name":
            assert defaults[names.get(name, name)] == parameter.default
    hints = typing.get_type_hints(datasets.DataSettings, include_extras=True)
    assert all(hint.__metadata__[0].endswith(".") for hint in hints.values())


def test_settings_load_the_data(folder):
    settings = datasets.DataSettings(
        data=folder, class_names=("cow", "ant"), samples_per_class=2, data_seed=3
    )
    expected = datasets.load(folder, class_names=("cow", "ant"), samples_per_class=2, seed=3)
    np.testing.assert_array_equal(settings.load_data().x_train, expected.x_train)
    assert settings.load_data().class_names == expected.class_names
