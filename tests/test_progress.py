"""The progress bar appears when work takes long, and only then."""

import time

import pytest

from moda_keras import progress
from moda_keras.progress import ProgressBar


def shown_by(capsys, verbose, seconds):
    bar = ProgressBar(2, verbose, unit_name="layer", patience=0.05)
    time.sleep(seconds)
    bar.update(1)
    bar.update(2)
    return capsys.readouterr().out


def test_quick_work_shows_nothing(capsys):
    assert shown_by(capsys, "auto", 0) == ""


def test_long_work_shows_a_bar(capsys):
    assert "2/2" in shown_by(capsys, "auto", 0.06)


def test_zero_is_silent(capsys):
    assert shown_by(capsys, 0, 0.06) == ""


def test_other_values_are_refused():
    with pytest.raises(ValueError, match="`verbose` to be 0, 1"):
        ProgressBar(2, "loud")


@pytest.mark.parametrize("verbose", [0, "auto"])
def test_repair_and_steps_show_one(monkeypatch, capsys, verbose):
    import keras
    import numpy as np

    import moda_keras as mk

    monkeypatch.setattr(progress.time, "monotonic", iter(range(0, 10**6, 3)).__next__)
    inputs = keras.Input((4,))
    x = keras.layers.Dense(16, activation="relu")(inputs)
    x = keras.layers.Dense(16, activation="relu")(x)
    model = keras.Model(inputs, keras.layers.Dense(4)(x))
    x, y = np.random.default_rng(0).normal(size=(40, 4)), np.arange(40) % 4
    modules = mk.decompose(model, x, y, criterion="importance", verbose=0)
    capsys.readouterr()
    some = {"classes": [0, 2], "calibration_data": x}
    chosen = modules.within(parameters=0.3, **some, verbose=verbose)
    assert bool(capsys.readouterr().out) == (verbose != 0)
    mk.compose(chosen, [0, 2], calibration_data=x, verbose=verbose)
    assert bool(capsys.readouterr().out) == (verbose != 0)
