import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from labelled_data import labelled_inputs
from small_models import BACKEND, cnn, mlp, random_modules

import moda_keras as mk
from moda_keras.evaluation.subtask_measurement import SubtaskMeasurement
from moda_keras.experiments import subtasks_of, sweep_subtasks

# Slows every job down, so that a kill comes between two.
SWEEP = """
import sys, time
import numpy as np
import moda_keras as mk
from moda_keras.evaluation import subtask_measurement, sweep_subtasks

measure = subtask_measurement.SubtaskMeasurement.measure

def slowly(self, subtasks):
    time.sleep(0.5)
    return measure(self, subtasks)

subtask_measurement.SubtaskMeasurement.measure = slowly
folder = sys.argv[1]
data = np.load(folder + "/data.npz")
modules = mk.load_modules(folder + "/modules")
sweep_subtasks(modules, data["x"], data["y"], folder + "/subtasks.csv", subtasks_per_job=1)
"""


@pytest.fixture(scope="module")
def expected(modules, data):
    return SubtaskMeasurement(modules, *data).measure(subtasks_of(4))


def test_every_figure_is_that_of_the_composed_model(modules, data, expected):
    full = mk.metrics.count_flops(modules.model)
    for row in expected:
        composed = mk.compose(modules, row["classes"])
        assert row["k"] == len(row["classes"])
        assert row["samples"] == np.isin(data[1], row["classes"]).sum()
        assert row["accuracy"] == mk.metrics.reuse_accuracy(modules, row["classes"], *data)
        assert row["full_accuracy"] == pytest.approx(
            mk.metrics.full_accuracy(modules.model, row["classes"], *data), abs=1e-12
        )
        assert row["size"] == mk.metrics.composed_size(modules, row["classes"])
        assert row["flops"] == mk.metrics.count_flops(composed) / full


def test_sweep_gives_and_writes_a_row_for_each_subtask(modules, data, expected, tmp_path):
    seen = []
    rows = sweep_subtasks(
        modules,
        *data,
        tmp_path / "subtasks.csv",
        subtasks_per_job=4,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert rows == expected
    assert seen == [(4, 11), (8, 11), (11, 11)]
    again = sweep_subtasks(modules, *data, tmp_path / "subtasks.csv", progress=pytest.fail)
    assert again == expected


def test_killed_sweep_goes_on_where_it_was(modules, data, expected, tmp_path):
    modules.save(tmp_path / "modules")
    np.savez(tmp_path / "data.npz", x=data[0], y=data[1])
    path = tmp_path / "subtasks.csv"
    environment = {
        **os.environ,
        "KERAS_BACKEND": BACKEND,
        "PYTHONPATH": str(Path(mk.__file__).parents[1]),
    }
    process = subprocess.Popen(
        [sys.executable, "-c", SWEEP, str(tmp_path)], env=environment, stderr=subprocess.PIPE
    )
    while process.poll() is None and (not path.exists() or path.read_text().count("\n") < 4):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors.decode()
    done = path.read_text().count("\n") - 1
    assert 3 <= done < 11
    with path.open("a") as file:
        file.write("0 1 2,3,")  # as if it had been killed while writing
    counts = []
    rows = sweep_subtasks(
        modules, *data, path, subtasks_per_job=1, progress=lambda n, total: counts.append(n)
    )
    assert rows == expected
    assert counts == list(range(done + 1, 12))
    assert path.read_text().count("\n") == 12


def test_results_of_other_modules_are_not_gone_on_with(modules, data, tmp_path):
    sweep_subtasks(modules, *data, tmp_path / "subtasks.csv", subtasks=[(0, 1)])
    other = random_modules(cnn(), seed=5)
    with pytest.raises(ValueError, match="Choose another path"):
        sweep_subtasks(other, *data, tmp_path / "subtasks.csv", subtasks=[(0, 1)])


def test_model_that_cannot_be_cut_is_composed(tmp_path):
    inputs = keras.Input((5, 3))
    x = keras.layers.SimpleRNN(6, name="rnn")(inputs)
    modules = random_modules(keras.Model(inputs, keras.layers.Dense(3, name="logits")(x)))
    x, y = labelled_inputs(modules.model)
    (row,) = sweep_subtasks(modules, x, y, tmp_path / "subtasks.csv", subtasks=[(0, 2)])
    assert row["accuracy"] == mk.metrics.reuse_accuracy(modules, (0, 2), x, y)


def test_workers_give_the_same_rows(modules, data, expected, tmp_path):
    pytest.importorskip("joblib")
    rows = sweep_subtasks(modules, *data, tmp_path / "subtasks.csv", subtasks_per_job=4, n_jobs=2)
    assert rows == expected


def test_dask_workers_give_the_same_rows(modules, data, expected, tmp_path):
    joblib = pytest.importorskip("joblib")
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config(backend="dask"),
    ):
        rows = sweep_subtasks(
            modules, *data, tmp_path / "subtasks.csv", subtasks_per_job=4, n_jobs=None
        )
    assert rows == expected


def test_jobs_have_at_least_one_subtask(modules, data, tmp_path):
    with pytest.raises(ValueError, match="subtasks_per_job"):
        sweep_subtasks(modules, *data, tmp_path / "s.csv", subtasks_per_job=0)


def test_mlp_on_flat_inputs(tmp_path):
    modules = random_modules(mlp())
    rows = sweep_subtasks(modules, *labelled_inputs(modules.model), tmp_path / "subtasks.csv")
    assert [row["classes"] for row in rows] == subtasks_of(3)
