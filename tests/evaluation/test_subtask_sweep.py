import pickle

import keras
import numpy as np
import pytest
from labelled_data import labelled_inputs
from small_models import cnn, mlp, random_modules

import moda_keras as mk
from moda_keras.evaluation.subtask_measurement import SubtaskMeasurement
from moda_keras.evaluation.subtask_sweep import _archive, _jobs, _measure, _Work
from moda_keras.experiments import subtasks_of, sweep_subtasks


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


def test_interrupted_sweep_resumes_where_it_was(modules, data, expected, tmp_path):
    def interrupt(done, total):
        if done == 5:
            raise KeyboardInterrupt

    path = tmp_path / "subtasks.csv"
    with pytest.raises(KeyboardInterrupt):
        sweep_subtasks(modules, *data, path, subtasks_per_job=1, progress=interrupt)
    assert path.read_text().count("\n") == 1 + 5
    with path.open("a") as file:
        file.write("0 1 2,3,")  # as if it had been killed while writing
    counts = []
    rows = sweep_subtasks(
        modules, *data, path, subtasks_per_job=1, progress=lambda n, total: counts.append(n)
    )
    assert rows == expected
    assert counts == list(range(6, 12))
    assert path.read_text().count("\n") == 12


def test_results_of_other_modules_are_not_resumed(modules, data, tmp_path):
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


def test_job_of_a_worker_process_gives_the_same_rows(modules, data, expected):
    """What joblib sends to a process, pickled: starting real ones takes long."""
    measurement = SubtaskMeasurement(modules, *data)
    work = _Work("digest", 256, _archive(modules), measurement.x, measurement.y, sender=0)
    jobs = pickle.loads(pickle.dumps([(work, job) for job in _jobs(modules, subtasks_of(4), 4)]))
    rows = [row for job in jobs for row in _measure(*job)]
    assert sorted(rows, key=lambda row: (row["k"], row["classes"])) == expected


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
