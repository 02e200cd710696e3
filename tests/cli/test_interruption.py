import os
import signal
import time

import keras
import numpy as np
import pytest
from command_line import TINY_DATA, ask, invoke

from moda_keras.cli.training import StopAfterEpoch
from moda_keras.datasets.epoch_batches import EpochBatches
from moda_keras.experiments import read_rows

RECIPE = ("--epochs", 4, "--batch-size", 16)


def interrupt_in_second_epoch(monkeypatch):
    draw, sent = EpochBatches.__getitem__, []

    def draw_and_interrupt(self, index):
        if self.epoch == 1 and not sent:
            sent.append(index)
            os.kill(os.getpid(), signal.SIGINT)
        return draw(self, index)

    monkeypatch.setattr(EpochBatches, "__getitem__", draw_and_interrupt)


def test_resumed_training_has_the_same_result(small_model, tmp_path, monkeypatch):
    command = ("train", *TINY_DATA, "--model", small_model, *RECIPE)
    log = tmp_path / "one.csv"
    with monkeypatch.context() as patch:
        interrupt_in_second_epoch(patch)
        result = invoke(*command, "-o", tmp_path / "one.keras")
    assert result.exit_code == 130, result.output
    kept = f"2 of 4 epochs are in {str(tmp_path / 'one.training')!r}. Rerun the command to resume"
    assert kept in result.stderr
    assert "Stopping at the end of this epoch" in result.stderr
    assert [row["epoch"] for row in read_rows(log)] == [0, 1]

    resumed = ask(*command, "-o", tmp_path / "one.keras")
    undisturbed = ask(*command, "-o", tmp_path / "other.keras")
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
