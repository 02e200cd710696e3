import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from command_line import TINY_DATA, ask
from small_models import BACKEND

import moda_keras as mk
from moda_keras.cli.training import StopAfterEpoch
from moda_keras.experiments import read_rows

# The command as it is, but for batches that take their time.
SLOW_COMMAND = """
import time
from moda_keras.cli import main
from moda_keras.datasets import epoch_batches

draw = epoch_batches.EpochBatches.__getitem__

def slowly(self, index):
    time.sleep(0.1)
    return draw(self, index)

epoch_batches.EpochBatches.__getitem__ = slowly
main()
"""
RECIPE = ("--epochs", 4, "--batch-size", 16)


def test_resumed_training_has_the_same_result(small_model, tmp_path):
    arguments = ("train", *TINY_DATA, "--model", small_model, *RECIPE)
    command = [*map(str, arguments), "-o", str(tmp_path / "one.keras"), "--json"]
    script = tmp_path / "moda"
    script.write_text(SLOW_COMMAND)
    process = subprocess.Popen(
        [sys.executable, str(script), *command],
        env={
            **os.environ,
            "KERAS_BACKEND": BACKEND,
            "PYTHONPATH": str(Path(mk.__file__).parents[1]),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    log = tmp_path / "one.csv"
    while process.poll() is None and (not log.exists() or log.read_text().count("\n") < 2):
        time.sleep(0.05)
    time.sleep(0.15)  # into the middle of an epoch
    process.send_signal(signal.SIGINT)
    printed, errors = process.communicate()
    assert process.returncode == 130, errors
    assert "Rerun the command to resume" in json.loads(printed)["error"]["message"]
    assert "Stopping at the end of this epoch" in errors
    assert 2 <= len(read_rows(log)) < 4

    resumed = ask(*arguments, "-o", tmp_path / "one.keras")
    undisturbed = ask(*arguments, "-o", tmp_path / "other.keras")
    assert [row["epoch"] for row in read_rows(log)] == [0, 1, 2, 3]
    assert resumed["test_accuracy"] == undisturbed["test_accuracy"]
    one, other = (keras.saving.load_model(each["model"]) for each in (resumed, undisturbed))
    for mine, its in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-4, atol=1e-5)


def test_first_ctrl_c_waits_for_the_end_of_the_epoch_and_the_second_does_not(capsys):
    with StopAfterEpoch() as stop:
        stop.on_train_begin()
        stop.on_epoch_end(0)
        os.kill(os.getpid(), signal.SIGINT)
        assert "Stopping at the end of this epoch" in capsys.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
        with pytest.raises(KeyboardInterrupt):
            stop.on_epoch_end(1)


def test_ctrl_c_outside_of_training_is_heeded_at_once():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), StopAfterEpoch() as stop:
        stop.on_train_begin()
        stop.on_train_end()
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
    assert signal.getsignal(signal.SIGINT) is before
