import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from small_models import BACKEND

import moda_keras as mk
from moda_keras.evaluation.results_file import read_rows
from moda_keras.experiments.trained_model import Recipe, train_model

TRAIN = """
import sys, time
import keras
import numpy as np
from moda_keras.datasets import Dataset, EpochBatches
from moda_keras.experiments.trained_model import Recipe, train_model

draw = EpochBatches.__getitem__

def slowly(self, index):
    time.sleep(0.3)
    return draw(self, index)

EpochBatches.__getitem__ = slowly
folder = sys.argv[1]
data = Dataset(**{name: array for name, array in np.load(folder + "/data.npz").items()})
recipe = Recipe("small_cnn", (1.0, 1.0, 0.3), epochs=5, batch_size=8, seed=3)
train_model(recipe, data, folder + "/models")
"""
RECIPE = Recipe("small_cnn", (1.0, 1.0, 0.3), epochs=5, batch_size=8, seed=3)


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(0)
    labels = np.arange(18, dtype="int32") % 3
    images = random.normal(size=(18, 8, 8, 1)).astype("float32") + labels[:, None, None, None]
    return mk.datasets.Dataset(images, labels, images[:6], labels[:6], ("0", "1", "2"))


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    return train_model(RECIPE, data, tmp_path_factory.mktemp("undisturbed"))


def weights_of(trained):
    return [np.asarray(weight) for weight in trained.modules.model.get_weights()]


def test_trained_model_is_kept(data, undisturbed, tmp_path):
    first = train_model(RECIPE, data, tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again = train_model(RECIPE, data, tmp_path)
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    assert again.name == first.name == undisturbed.name
    assert again.accuracy == first.accuracy and again.seconds == first.seconds > 0
    for one, other in zip(weights_of(first), weights_of(again), strict=True):
        np.testing.assert_array_equal(one, other)


def test_other_recipe_or_data_is_another_model(data, undisturbed, tmp_path):
    other = Recipe("small_cnn", (1.0, 1.0, 0.0), epochs=5, batch_size=8, seed=3)
    assert train_model(other, data, tmp_path).name != undisturbed.name


def test_killed_training_goes_on_to_the_same_result(data, undisturbed, tmp_path):
    np.savez(tmp_path / "data.npz", **vars(data))
    log = tmp_path / "models" / f"{undisturbed.name}.csv"
    environment = {
        **os.environ,
        "KERAS_BACKEND": BACKEND,
        "PYTHONPATH": str(Path(mk.__file__).parents[1]),
    }
    process = subprocess.Popen(
        [sys.executable, "-c", TRAIN, str(tmp_path)], env=environment, stderr=subprocess.PIPE
    )
    while process.poll() is None and (not log.exists() or log.read_text().count("\n") < 3):
        time.sleep(0.05)
    time.sleep(0.3)  # into the middle of an epoch
    process.send_signal(signal.SIGKILL)
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors.decode()
    assert 2 <= log.read_text().count("\n") - 1 < 5
    trained = train_model(RECIPE, data, tmp_path / "models")
    assert [row["epoch"] for row in read_rows(log)] == list(range(5))
    assert trained.accuracy == undisturbed.accuracy
    for one, other in zip(weights_of(trained), weights_of(undisturbed), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    assert not list((tmp_path / "models").glob("*.backup"))


def test_training_killed_after_its_last_epoch_is_not_done_again(data, undisturbed, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("moda_keras.experiments.trained_model.decompose", _killed)
        with pytest.raises(KeyboardInterrupt):
            train_model(RECIPE, data, tmp_path)
    log = tmp_path / f"{undisturbed.name}.csv"
    before = log.read_text()
    trained = train_model(RECIPE, data, tmp_path)
    assert log.read_text() == before
    assert trained.accuracy == undisturbed.accuracy


def _killed(*arguments, **named):
    raise KeyboardInterrupt
