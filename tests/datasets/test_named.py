"""Data sets of tensorflow-datasets: its mock data, and small prepared data sets."""

import socket
import sys

import numpy as np
import pytest
from prepared_data import SYNSETS, color_of, rows_of

from moda_keras import datasets
from moda_keras.datasets import tfds_splits
from moda_keras.datasets.tfds_splits import open_builder, open_source, read_split

tfds = pytest.importorskip("tensorflow_datasets")
pytest.importorskip("tensorflow")
pytest.importorskip("array_record")

CLASSES = {
    "cifar10": 10,
    "cifar100": 100,
    "svhn": 10,
    "stanford_dogs": 120,
    "imagenet100r": 100,
    "imagenet100d": 100,
}


@pytest.mark.parametrize("name", [name for name in datasets.NAMES if name != "digits"])
def test_every_name_loads_from_mock_data(name, monkeypatch):
    # The mock boxes around dogs are random and may be invalid.
    monkeypatch.setattr(tfds.features.BBoxFeature, "encode_example", lambda feature, box: box)
    with tfds.testing.mock_data(num_examples=60):
        size = {} if name in ("cifar10", "cifar100", "svhn") else {"image_size": 32}
        data = datasets.load(name, **size)
        x, y = next(iter(data.train_batches(4)))

        assert len(data.class_names) == len(set(data.class_names)) == CLASSES[name]
        assert data.image_shape == (32, 32, 3) and x.shape == (4, 32, 32, 3)
        assert x.dtype == "float32" and 0 <= x.min() < 0.1 and 0.9 < x.max() <= 1
        assert y.dtype == data.y_test.dtype == "int32"
        assert len(data.x_test) == len(data.y_test) > 0
        assert data.y_train.min() >= 0 and data.y_train.max() < CLASSES[name]
        assert data.standardized().image_shape == data.image_shape


def test_images_and_labels_are_those_that_were_prepared(prepared):
    data = datasets.load("cifar10", data_dir=prepared)

    assert data.class_names == tuple(f"kind{index:03}" for index in range(10))
    reds, rows = rows_of(data.x_train)
    assert set(reds) == {50} and sorted(rows) == list(range(40))
    assert (data.y_train == rows % 5).all()
    reds, rows = rows_of(data.x_test)
    assert set(reds) == {250} and (data.y_test == rows % 5).all()


def test_classes_are_taken_in_the_order_given(prepared):
    data = datasets.load(
        "cifar10", data_dir=prepared, class_names=["kind003", "kind000"], samples_per_class=3
    )

    assert data.class_names == ("kind003", "kind000")
    assert np.bincount(data.y_train).tolist() == [3, 3]
    assert (np.where(data.y_train == 0, 3, 0) == rows_of(data.x_train)[1] % 5).all()
    assert len(data.y_test) == 8


def test_seed_fixes_which_samples_are_taken(prepared):
    first, again, other = (
        datasets.load("cifar10", data_dir=prepared, samples_per_class=2, seed=seed).x_train
        for seed in (1, 1, 2)
    )
    assert (first == again).all() and (first != other).any()


@pytest.mark.parametrize(("extra", "reds"), [({}, {50: 20, 150: 30}), ({"extra": False}, {50: 20})])
def test_svhn_has_its_extra_split_by_default(prepared, extra, reds):
    data = datasets.load("svhn", data_dir=prepared, **extra)
    found = rows_of(data.x_train)[0]
    assert {red: (found == red).sum() for red in set(found)} == reds
    assert len(data.x_test) == 20


def test_images_are_resized_and_made_grey(prepared):
    data = datasets.load("cifar10", data_dir=prepared, image_size=(16, 20), color="grey")
    row = np.flatnonzero(data.y_train == 2)[0]

    assert data.image_shape == (16, 20, 1)
    expected = {
        round(float(color_of("train", r) @ [0.299, 0.587, 0.114]) / 255, 4) for r in range(2, 40, 5)
    }
    assert round(float(data.x_train[row, 3, 3, 0]), 4) in expected


def test_channels_first(prepared, channels_first):
    assert datasets.load("cifar10", data_dir=prepared).x_train.shape == (40, 3, 32, 32)
    dogs = datasets.load("stanford_dogs", data_dir=prepared, image_size=8)
    assert dogs.image_shape == (3, 8, 8)
    assert dogs.train_batches(5)[0][0].shape == (5, 3, 8, 8)
    assert dogs.x_test.shape == (20, 3, 8, 8)


# ------------------------------------------------------------------------------- ImageNet's classes


def imagenet_synsets():
    return tfds.builder("imagenet2012", data_dir="none").info.features["label"].names


def test_dogs_are_the_synsets_151_to_250():
    """In the table of ILSVRC 2012, 151 is the Chihuahua and 250 the Siberian husky."""
    synsets = imagenet_synsets()
    with tfds.testing.mock_data():
        dogs = datasets.load("imagenet100d").class_names
    assert list(dogs) == synsets[151:251]
    assert dogs[0] == "n02085620" and dogs[-1] == "n02110185"


def test_random_classes_are_always_the_same_hundred():
    with tfds.testing.mock_data():
        chosen = datasets.load("imagenet100r").class_names
        assert datasets.load("imagenet100r", seed=5).class_names == chosen
    synsets = imagenet_synsets()
    assert len(set(chosen)) == 100 and list(chosen) == sorted(chosen, key=synsets.index)
    assert chosen[:3] == ("n01443537", "n01537544", "n01631663")
    other = datasets.choose_imagenet_classes("imagenet100r", synsets, seed=1)
    assert other != list(chosen) and len(set(other)) == 100


def test_own_list_of_synsets_keeps_its_order(prepared):
    synsets = [SYNSETS[3], SYNSETS[1]]
    data = datasets.load("imagenet100r", data_dir=prepared, class_names=synsets, image_size=8)
    x, y = data.unaugmented_batches()[0]

    assert data.class_names == tuple(synsets)
    assert (np.where(y == 0, 3, 1) == rows_of(x)[1] % 5).all() and len(y) == 16
    assert rows_of(data.x_test)[1].tolist() == [1, 3, 6, 8, 11, 13, 16, 18]
    assert data.y_test.tolist() == [1, 0] * 4


# ------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize("name", ["cifar10", "svhn", "stanford_dogs"])
def test_missing_data_says_how_to_get_it(name, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing there\. Pass `download=True` to `load`"):
        datasets.load(name, data_dir=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("download", [False, True])
def test_imagenet_says_where_its_archives_go(download, tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        datasets.load("imagenet100d", data_dir=tmp_path, download=download)
    message = str(caught.value)
    assert "ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar" in message
    assert str(tmp_path / "downloads" / "manual") in message
    assert "`download=True` to `load`" in message and "\n" not in message


def test_download_without_network_fails_at_once(tmp_path, monkeypatch):
    def refuse(*arguments, **named):
        raise socket.gaierror("no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.setattr(
        "tensorflow_datasets.core.download.download_manager.DownloadManager.download", pytest.fail
    )
    with pytest.raises(FileNotFoundError, match=r"could not be downloaded.*no network"):
        datasets.load("cifar10", data_dir=tmp_path, download=True)


@pytest.mark.parametrize(("name", "expected"), [("svhn", None), ("stanford_dogs", "array_record")])
def test_download_prepares_streamed_data_for_random_access(name, expected, tmp_path, monkeypatch):
    formats = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments: [])
    monkeypatch.setattr(
        "tensorflow_datasets.core.dataset_builder.DatasetBuilder.download_and_prepare",
        lambda builder, file_format: formats.append(file_format),
    )
    with pytest.raises(FileNotFoundError, match="nothing there"):
        datasets.load(name, data_dir=tmp_path, download=True)
    assert formats == [expected]


def test_prepared_data_is_not_downloaded_again(prepared, monkeypatch):
    monkeypatch.setattr(
        "tensorflow_datasets.core.dataset_builder.DatasetBuilder.download_and_prepare", pytest.fail
    )
    assert len(datasets.load("cifar10", data_dir=prepared, download=True).y_train) == 40


def test_missing_split_is_named(prepared):
    builder = open_builder("stanford_dogs", prepared, False)
    with pytest.raises(FileNotFoundError, match=r"split 'extra'.*prepare the data set again"):
        open_source(builder, "extra")
    builder = open_builder("cifar10", prepared, False)
    with pytest.raises(FileNotFoundError, match=r"split 'extra'.*prepare the data set again"):
        read_split(builder, "extra")


def test_streamed_data_in_another_format_must_be_prepared_again(prepared):
    builder = open_builder("cifar10", prepared, False)
    message = r"format 'array_record'.*Received: the format 'tfrecord'.*prepare the data set again"
    with pytest.raises(FileNotFoundError, match=message):
        open_source(builder, "train")


@pytest.mark.parametrize(
    ("package", "extra"), [("tensorflow_datasets", "tfds"), ("tensorflow", "tensorflow")]
)
def test_missing_package_says_what_to_install(package, extra, monkeypatch):
    tfds_splits.import_tfds.cache_clear()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf'pip install "moda-keras\[{extra}\]"'):
        datasets.load("cifar10")


def test_missing_array_record_says_what_to_install(prepared, monkeypatch):
    def open_without_it(*arguments, **options):
        raise ModuleNotFoundError("No module named 'array_record'")

    builder = open_builder("stanford_dogs", prepared, False)
    monkeypatch.setattr(type(builder), "as_data_source", open_without_it)
    with pytest.raises(ImportError, match=r'array_record.*pip install "moda-keras\[tfds\]"'):
        open_source(builder, "train")


def test_package_missing_in_preparation_is_named(tmp_path, monkeypatch):
    def need(builder, **options):
        raise ModuleNotFoundError("No module named 'scipy'", name="scipy")

    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments: [])
    monkeypatch.setattr(
        "tensorflow_datasets.core.dataset_builder.DatasetBuilder.download_and_prepare", need
    )
    with pytest.raises(ImportError, match=r"scipy.*moda-keras\[tfds\]"):
        datasets.load("svhn", data_dir=tmp_path, download=True)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cifar10", {"extra": True}, r"Expected `extra` only for \['svhn'\]"),
        ("cifar10", {"cache": "x"}, r"Expected `cache` only for \['stanford_dogs'"),
        ("digits", {"data_dir": "x"}, r"Expected `data_dir` only for \['cifar10'"),
        ("imagenet100d", {"class_names": ["dog"]}, r"n01440764.*and 988 more.*\['dog'\]"),
        ("stanford_dogs", {"image_size": -1}, "Expected `image_size` to be a positive integer"),
    ],
)
def test_invalid_arguments_raise(name, options, message, prepared):
    given = {"data_dir": prepared} if name != "digits" else {}
    with pytest.raises(ValueError, match=message):
        datasets.load(name, **{**given, **options})
