from dataclasses import replace

import keras
import numpy as np
import pytest

import moda_keras as mk
from moda_keras.evaluation.results_file import read_rows
from moda_keras.experiments.recipe import fit_by_recipe
from moda_keras.experiments.trained_model import Recipe, train_model

RECIPE = Recipe("small_cnn", (1.0, 1.0, 0.3), epochs=5, batch_size=8, seed=3)


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(0)
    labels = np.arange(18, dtype="int32") % 3
    images = random.normal(size=(18, 8, 8, 1)).astype("float32") + labels[:, None, None, None]
    return mk.datasets.Dataset(images, labels, images[:6], labels[:6], ("0", "1", "2"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("undisturbed")


@pytest.fixture(scope="module")
def undisturbed(data, folder):
    return train_model(RECIPE, data, folder)


def weights_of(trained):
    return [np.asarray(weight) for weight in trained.modules.model.get_weights()]


def test_trained_model_is_kept(data, undisturbed, folder):
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    again = train_model(RECIPE, data, folder)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert again.name == undisturbed.name and again.accuracy == undisturbed.accuracy
    assert again.seconds == undisturbed.seconds > 0
    assert again.decompose_seconds == undisturbed.decompose_seconds > 0
    for one, other in zip(weights_of(undisturbed), weights_of(again), strict=True):
        np.testing.assert_array_equal(one, other)


def test_other_recipe_or_data_is_another_model(data, undisturbed, tmp_path):
    names = {undisturbed.name}
    for recipe, images in [
        (replace(RECIPE, weights=(1.0, 1.0, 0.0), epochs=1), data),
        (replace(RECIPE, epochs=1), data),
        (replace(RECIPE, epochs=1), data.of_classes([1, 0, 2])),
    ]:
        names.add(train_model(recipe, images, tmp_path).name)
    assert len(names) == 4


@pytest.mark.parametrize("warmup", [None, "accuracy"])
def test_model_is_compiled_with_the_recipe_s_loss(warmup, data, tmp_path):
    model = mk.ModularModel.from_model(mk.zoo.small_cnn((8, 8, 1), 3))
    fit_by_recipe(model, replace(RECIPE, epochs=1, warmup=warmup), data, tmp_path / "state")
    config = model.get_compile_config()["modular_loss"]["config"]
    assert (config["gamma"], config["warmup"]) == (0.3, warmup)


class InterruptedEpoch(keras.callbacks.Callback):
    """Stops a training in the middle of its fourth epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.epoch == 3:
            raise KeyboardInterrupt


def test_interrupted_training_resumes_to_the_same_result(data, undisturbed, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train_model(RECIPE, data, tmp_path, [InterruptedEpoch()])
    log = tmp_path / f"{undisturbed.name}.csv"
    assert [row["epoch"] for row in read_rows(log)] == [0, 1, 2]
    trained = train_model(RECIPE, data, tmp_path)
    assert [row["epoch"] for row in read_rows(log)] == list(range(5))
    assert trained.accuracy == undisturbed.accuracy
    for one, other in zip(weights_of(trained), weights_of(undisturbed), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    assert not list(tmp_path.glob("*.training*"))


def test_training_killed_after_its_last_epoch_is_not_done_again(data, undisturbed, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("moda_keras.experiments.recipe.decompose", _killed)
        with pytest.raises(KeyboardInterrupt):
            train_model(RECIPE, data, tmp_path)
    log = tmp_path / f"{undisturbed.name}.csv"
    before = log.read_text()
    trained = train_model(RECIPE, data, tmp_path)
    assert log.read_text() == before
    assert trained.accuracy == undisturbed.accuracy


def _killed(*arguments, **named):
    raise KeyboardInterrupt
