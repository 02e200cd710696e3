"""Objectives of the global batch, where replicas train on parts of it: as one process alone."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import moda_keras as mk
from moda_keras.ops.backends import backend
from moda_keras.training.replicas import check_replicas, warn_of_separate_models

FOLDER = Path(__file__).parent / "replicas"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}


def on(name):
    return pytest.mark.skipif(keras.backend.backend() != name, reason=f"of {name}")


# Two workers, and four in the long form.
WORKERS = [2, 4] if os.environ.get("MODA_KERAS_TEST_ALL") == "1" else [2]


def free_ports(number):
    sockets = [socket.socket() for _ in range(number)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def read_weights(path):
    """Those before and after the training."""
    with np.load(path) as file:
        weights = [file[name] for name in file.files]
    return weights[: len(weights) // 2], weights[len(weights) // 2 :]


def distance(first, second):
    return sum(np.square(a - b).sum() for a, b in zip(first, second, strict=True)) ** 0.5


def read(text):
    return json.loads(text.strip().splitlines()[-1])


@on("tensorflow")
@pytest.mark.parametrize("workers", WORKERS)
def test_mirrored_strategy_trains_as_one_device(workers):
    command = [sys.executable, FOLDER / "mirrored.py", str(workers)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = read(done.stdout)
    for name in ("constant weights", "warm-up", "mask loss"):
        assert found[name]["error"] < 1e-5, found
        assert found[name]["logs"] < 1e-4, found
    # What it would be otherwise, so that this test can fail.
    assert found["each replica"]["error"] > 0.01
    assert found["decompose"] < 1e-5, found
    assert found["123 samples"] < 1e-5 and found["97 samples"] < 1e-5, found


@on("tensorflow")
@pytest.mark.parametrize("workers", WORKERS)
def test_processes_of_multi_worker_strategy_train_as_one(workers, tmp_path):
    addresses = [f"127.0.0.1:{port}" for port in free_ports(workers)]
    clusters = [
        json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}})
        for index in range(workers)
    ]
    command = [sys.executable, FOLDER / "multi_worker.py"]
    processes = [
        subprocess.Popen([*command, tmp_path / "alone.npz"], env=ENVIRONMENT),
        *(
            subprocess.Popen(
                [*command, tmp_path / f"{index}.npz"], env={**ENVIRONMENT, "TF_CONFIG": cluster}
            )
            for index, cluster in enumerate(clusters)
        ),
    ]
    assert [process.wait(timeout=300) for process in processes] == [0] * (workers + 1)
    start, alone = read_weights(tmp_path / "alone.npz")
    for index in range(workers):
        _, together = read_weights(tmp_path / f"{index}.npz")
        assert distance(alone, together) < 1e-5 * distance(alone, start)


@on("jax")
@pytest.mark.parametrize("workers", WORKERS)
def test_jax_devices_train_and_decompose_as_one(workers):
    command = [sys.executable, FOLDER / "jax_devices.py", str(workers)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = read(done.stdout)
    assert found["devices"] == workers
    for kind in ("data", "model"):
        assert found[kind]["error"] < 1e-5, found
        assert found[kind]["counts"] and found[kind]["composed"] < 1e-5, found


@on("torch")
@pytest.mark.parametrize("workers", WORKERS)
def test_torch_processes_train_as_one(workers):
    (port,) = free_ports(1)
    processes = [
        subprocess.Popen(
            [sys.executable, FOLDER / "processes.py"],
            env={
                **ENVIRONMENT, "RANK": str(rank), "WORLD_SIZE": str(workers),
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
            },
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(workers)
    ]  # fmt: skip
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0] * workers, outputs
    found = read(outputs[0][0])
    assert found["constant weights"] < 1e-5, found
    assert found["warm-up"] < 1e-5, found
    assert found["each replica"] > 0.01, found
    assert len(found["warnings of fit"]) == 1
    assert f"{workers} processes" in found["warnings of fit"][0]


class OfEach(mk.ModularLoss):
    """A loss that says nothing of replicas."""

    objective_names = ("nothing",)

    @property
    def weights(self):
        return {"nothing": 1.0}

    def objectives(self, activations, labels, num_classes, **kwargs):
        return {"nothing": 0.0}

    def get_config(self):
        return {}


def test_loss_of_each_replica_warns(monkeypatch):
    monkeypatch.setattr(backend, "replicas", lambda: 3)
    with pytest.warns(UserWarning, match=r"3 replicas.*OfEach are those of each replica's own"):
        check_replicas(OfEach())


@pytest.mark.filterwarnings("error::UserWarning")
def test_loss_of_the_global_batch_does_not_warn(monkeypatch):
    assert check_replicas(OfEach()) == 1
    monkeypatch.setattr(backend, "replicas", lambda: 3)
    assert check_replicas(mk.MODALoss()) == (3 if backend.divides_loss_by_replicas else 1)


@pytest.mark.parametrize("replicas", [1, 2])
def test_separate_models_of_processes_are_warned_of(monkeypatch, recwarn, replicas):
    monkeypatch.setattr(backend, "replicas", lambda: replicas)
    monkeypatch.setattr(type(backend), "divides_loss_by_replicas", False)
    warn_of_separate_models()
    assert ["2 processes" in str(each.message) for each in recwarn] == [True] * (replicas - 1)


def test_reduce_is_kept_in_the_config():
    assert mk.MODALoss.from_config(mk.MODALoss(reduce="replica").get_config()).reduce == "replica"
    with pytest.raises(ValueError, match="`reduce` to be one of"):
        mk.MODALoss(reduce="shard")
