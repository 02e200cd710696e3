"""Streamed data: samples and their order, and use in `fit` and `decompose`."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from prepared_data import rows_of

import moda_keras as mk
from moda_keras import datasets
from moda_keras.datasets import stored_samples
from moda_keras.experiments import train_model
from moda_keras.experiments.recipe import Recipe

pytest.importorskip("tensorflow_datasets")
pytest.importorskip("array_record")


@pytest.fixture
def dogs(prepared):
    return datasets.load("stanford_dogs", data_dir=prepared, image_size=8)


@pytest.fixture
def five(dogs):
    """The classes that have samples."""
    return dogs.of_classes([3, 1, 0, 2, 4])


def drawn(batches, epoch=0):
    """Rows and labels of an epoch."""
    batches.epoch = epoch
    samples = [(rows_of(x)[1], y) for x, y in batches]
    return tuple(np.concatenate(each) for each in zip(*samples, strict=True))


def test_every_sample_comes_once_in_its_order(dogs):
    rows, labels = drawn(dogs.unaugmented_batches(7))
    assert rows.tolist() == list(range(40))
    assert labels.tolist() == dogs.y_train.tolist() == [row % 5 for row in range(40)]
    assert len(dogs.unaugmented_batches(7)) == 6
    assert rows_of(dogs.x_test)[1].tolist() == list(range(20))
    assert drawn(dogs.test_batches(6))[1].tolist() == dogs.y_test.tolist()


def test_batches_of_an_epoch_depend_on_seed_and_epoch_alone(dogs):
    batches = dogs.train_batches(9, seed=3)
    first, later = drawn(batches, 0), drawn(batches, 5)
    assert (first[0] != later[0]).any()
    for rows, labels in (first, later):
        assert len(set(rows.tolist())) == 36 and (labels == rows % 5).all()
    again = dogs.train_batches(9, seed=3)
    assert (drawn(again, 5)[0] == later[0]).all()
    assert (drawn(dogs.train_batches(9, seed=4), 5)[0] != later[0]).any()


def test_augmentation_is_repeatable(prepared):
    with_texture = datasets.load("imagenet100d", data_dir=prepared, image_size=8)
    images = [with_texture.train_batches(4, augment=how)[0][0] for how in ("none", "crop_flip")]
    assert images[0].shape == images[1].shape
    again = with_texture.train_batches(4, augment="crop_flip")
    np.testing.assert_array_equal(again[0][0], images[1])


def test_batches_may_be_drawn_in_any_order(dogs):
    batches = [dogs.train_batches(8, seed=1), dogs.unaugmented_batches(8)]
    for one in batches:
        in_order = [one[index] for index in range(5)]
        for index in (3, 1, 4, 4):
            for found, expected in zip(one[index], in_order[index], strict=True):
                np.testing.assert_array_equal(found, expected)


def test_image_that_cannot_be_decoded_raises_in_its_batch(dogs, monkeypatch):
    def fail(*arguments):
        raise OSError("broken image")

    monkeypatch.setattr(stored_samples.StoredSamples, "encoded", fail)
    with pytest.raises(OSError, match="broken image"):
        dogs.train_batches(8)[0]


def test_samples_per_class_are_limited_by_seed(prepared):
    def load(seed):
        return datasets.load(
            "stanford_dogs",
            data_dir=prepared,
            image_size=8,
            class_names=["kind004", "kind001"],
            samples_per_class=3,
            test_samples_per_class=1,
            seed=seed,
        )

    rows, labels = drawn(load(0).unaugmented_batches())
    assert (np.where(labels == 0, 4, 1) == rows % 5).all()
    assert np.bincount(labels).tolist() == [3, 3] and rows.tolist() == sorted(rows)
    assert np.bincount(load(0).y_test).tolist() == [1, 1]
    assert (drawn(load(0).unaugmented_batches())[0] == rows).all()
    assert drawn(load(1).unaugmented_batches())[0].tolist() != rows.tolist()


def test_classes_and_samples_of_a_choice_can_be_chosen(five):
    assert five.class_names == ("kind003", "kind001", "kind000", "kind002", "kind004")
    pair = five.of_classes([2, 0])
    assert pair.class_names == ("kind000", "kind003")
    rows, labels = drawn(pair.unaugmented_batches())
    assert (np.where(labels == 0, 0, 3) == rows % 5).all() and len(rows) == 16
    few = pair.with_training_samples(np.array([5, 1]))
    assert drawn(few.unaugmented_batches())[0].tolist() == [rows[1], rows[5]]
    assert len(few.y_test) == len(pair.y_test) == 8


def test_digests_of_different_data_differ(five):
    digests = [
        five.digest(),
        five.standardized().digest(),
        five.of_classes([0, 1]).digest(),
        five.of_classes([0, 1]).with_training_samples(np.arange(3)).digest(),
        five.with_training_samples(np.arange(3)).of_classes([0, 1]).digest(),
        five.with_training_samples(np.arange(3)).digest(),
        five.with_training_samples(np.arange(4)).digest(),
    ]
    assert len(set(digests)) == len(digests)
    assert five.with_training_samples(np.arange(4)).digest() == digests[-1]


def test_standardized_images_are_scaled_by_imagenets_figures(dogs):
    plain, scaled = dogs.x_test, dogs.standardized().x_test
    for channel, (mean, deviation) in enumerate([(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)]):
        expected = (plain[..., channel] - mean) / deviation
        np.testing.assert_allclose(scaled[..., channel], expected, atol=1e-5)


def test_cached_labels_are_not_read_again(prepared, tmp_path, monkeypatch):
    def load(classes):
        return datasets.load(
            "imagenet100d",
            data_dir=prepared,
            image_size=8,
            class_names=classes,
            cache=tmp_path / "cache",
        )

    first = load(["n02085782", "n02085620"])
    rows, labels = drawn(first.unaugmented_batches())
    assert (np.where(labels == 0, 2, 0) == rows % 5).all() and len(rows) == 16
    files = sorted(path.name for path in (tmp_path / "cache").iterdir())
    assert files == [f"imagenet2012-5.1.0-{split}-labels.npy" for split in ("train", "validation")]

    monkeypatch.setattr(type(first.train.source), "__getitem__", pytest.fail)
    again, other = load(["n02085782", "n02085620"]), load(["n02085620"])
    assert again.y_train.tolist() == labels.tolist()
    assert len(other.y_train) == 8


@pytest.mark.parametrize("found", [None, np.zeros(3, "int32")])
def test_labels_are_read_again_if_the_cache_is_incomplete(found, tmp_path):
    file = tmp_path / "folder" / "labels.npy"
    source = [{"image": b"", "label": label} for label in (2, 0, 1, 1)]
    if found is not None:
        file.parent.mkdir()
        np.save(file, found)
    assert stored_samples.read_samples(source, file).labels.tolist() == [2, 0, 1, 1]
    assert np.load(file).tolist() == [2, 0, 1, 1] and len(list(file.parent.iterdir())) == 1


def test_interrupted_cache_is_written_again(tmp_path, monkeypatch):
    source = [{"image": b"", "label": 1}]
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.replace", lambda *arguments: (_ for _ in ()).throw(OSError))
        with pytest.raises(OSError):
            _ = stored_samples.read_samples(source, tmp_path / "labels.npy").labels
    assert not (tmp_path / "labels.npy").exists()
    assert stored_samples.read_samples(source, tmp_path / "labels.npy").labels.tolist() == [1]


WITHOUT_TENSORFLOW = """
import importlib.machinery, sys
find = importlib.machinery.PathFinder.find_spec
importlib.machinery.PathFinder.find_spec = lambda name, path=None, target=None: (
    None if name.split(".")[0] == "tensorflow" else find(name, path, target)
)
from moda_keras import datasets
dogs = datasets.load("stanford_dogs", data_dir=sys.argv[1], image_size=8)
print(dogs.train_batches(4)[0][0].shape)
"""


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="TensorFlow needs itself; JAX is like torch"
)
def test_streamed_data_is_read_without_tensorflow(prepared):
    arguments = [sys.executable, "-c", WITHOUT_TENSORFLOW, str(prepared)]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.stdout.strip() == "(4, 8, 8, 3)", done.stderr


def test_training_images_are_not_in_memory(dogs):
    with pytest.raises(AttributeError, match=r"train_batches\(\).*unaugmented_batches\(\)"):
        dogs.x_train  # noqa: B018


def test_classes_without_samples_raise(dogs):
    with pytest.raises(ValueError, match="at least one training sample"):
        dogs.of_classes([100, 101]).train_batches()


# ------------------------------------------------------------------------------ into the library


def tiny_network(shape=(8, 8, 3), classes=5):
    keras.utils.set_random_seed(0)
    return mk.ModularModel.from_model(
        keras.Sequential(
            [
                keras.Input(shape),
                keras.layers.Conv2D(4, 3, strides=2, activation="relu", name="conv"),
                keras.layers.Flatten(),
                keras.layers.Dense(classes, name="logits"),
            ]
        )
    )


def compiled(model):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, metrics=["accuracy"], modular_loss=mk.MODALoss())
    return model


def test_streamed_images_train_and_decompose_like_arrays(five):
    model = compiled(tiny_network())
    batches = five.standardized().train_batches(8)
    history = model.fit(batches, epochs=2, shuffle=False, verbose=0)
    assert len(history.history["affinity"]) == 2 and batches.epoch == 1

    data = five.standardized()
    modules = mk.decompose(model, data.unaugmented_batches(16), verbose=0)
    images = np.concatenate([x for x, _ in data.unaugmented_batches(16)])
    expected = mk.decompose(model, images, data.y_train, verbose=0)
    np.testing.assert_array_equal(modules.frequency["conv"], expected.frequency["conv"])
    logits = model.predict(data.test_batches(6), verbose=0)
    np.testing.assert_allclose(logits, model.predict(data.x_test, verbose=0), atol=1e-5)
    assert model.evaluate(data.test_batches(), verbose=0, return_dict=True)["accuracy"] <= 1


def test_resumed_training_sees_the_same_batches(five):
    seen = {}

    class Seen(keras.callbacks.Callback):
        def __init__(self, batches, log):
            self.batches, self.log = batches, log

        def on_epoch_begin(self, epoch, logs=None):
            self.log.append(self.batches.epoch)

    def train(epochs, initial, weights=None):
        batches, log = five.train_batches(8, seed=2), []
        model = compiled(tiny_network())
        if weights is not None:
            model.set_weights(weights)
        model.fit(
            batches,
            epochs=epochs,
            initial_epoch=initial,
            shuffle=False,
            verbose=0,
            callbacks=[batches.tell_epoch(), Seen(batches, log)],
        )
        seen[epochs, initial] = log
        return model.get_weights()

    undisturbed = train(2, 0)
    resumed = train(2, 1, train(1, 0))
    assert seen == {(2, 0): [0, 1], (1, 0): [0], (2, 1): [1]}
    for one, other in zip(undisturbed, resumed, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.skipif(
    keras.backend.backend() == "jax", reason="JAX compiles every model that is trained"
)
def test_experiments_train_on_streams(five, tmp_path):
    recipe = Recipe("small_cnn", (1.0, 1.0, 0.3), epochs=1, batch_size=8)
    data = five.standardized()
    trained = train_model(recipe, data, tmp_path)
    expected = trained.modules.model.predict(data.x_test, verbose=0).argmax(-1) == data.y_test
    assert trained.accuracy == pytest.approx(expected.mean())
    assert trained.modules.class_names == five.class_names
    assert trained.modules.frequency["fc1"].shape == (5, 128)


def test_a_stream_is_shown_in_one_line(dogs):
    shown = f"training and {len(dogs.y_test)} test images of shape {dogs.image_shape}>"
    assert repr(dogs).startswith("<StreamedDataset of ") and repr(dogs).endswith(shown)
    assert "x_test" not in vars(dogs)
