import numpy as np
import pytest
from tuning_oracle import accuracy, all_subtasks, full_accuracy, losses, mean_size

import moda_keras as mk
from moda_keras.tuning import curve, threshold_curve


def test_rows_are_the_figures_of_each_threshold(modules, data):
    thresholds = [0.9, 0.3, {"first": 0.2, "second": 0.8}]
    rows = threshold_curve(modules, *data, thresholds, subtasks=all_subtasks())
    assert [row["threshold"] for row in rows] == thresholds
    for row in rows:
        each = modules.with_threshold(row["threshold"])
        found = [accuracy(each, subtask, *data) for subtask in all_subtasks()]
        full = [full_accuracy(modules.model, subtask, *data) for subtask in all_subtasks()]
        assert row["reuse_accuracy"] == pytest.approx(np.mean(found))
        assert row["full_accuracy"] == pytest.approx(np.mean(full))
        assert row["worst_loss"] == pytest.approx(losses(each, all_subtasks(), *data).max())
        assert row["module_size"] == pytest.approx(mean_size(each))


def test_all_distinct_thresholds_by_default_or_evenly_chosen_ones(modules, data, monkeypatch):
    distinct = mk.tuning.distinct_thresholds(modules).tolist()
    found = [row["threshold"] for row in threshold_curve(modules, *data)]
    assert found == distinct
    monkeypatch.setattr(curve, "POINTS", 5)
    found = [row["threshold"] for row in threshold_curve(modules, *data)]
    assert len(found) == 5
    assert (found[0], found[-1]) == (distinct[0], distinct[-1])


def test_names_of_classes(data):
    modules = mk.ModuleSet.from_counts(
        _model(), _counts(), np.array([4, 4, 4]), class_names=["ant", "bee", "cat"]
    )
    by_name = threshold_curve(modules, *data, [0.5], subtasks=[["cat", "ant"]])
    by_index = threshold_curve(modules, *data, [0.5], subtasks=[(0, 2)])
    assert by_name == by_index


def test_class_without_training_samples_is_in_no_subtask(data):
    modules = mk.ModuleSet.from_counts(_model(), _counts(), np.array([4, 0, 4]))
    (row,) = threshold_curve(modules, *data, [0.5])
    expected = accuracy(modules.with_threshold(0.5), (0, 2), *data)
    assert row["reuse_accuracy"] == pytest.approx(expected)
    assert np.isfinite(row["module_size"])


def _model():
    from small_models import mlp

    return mlp()


def _counts():
    rng = np.random.default_rng(0)
    return {name: rng.integers(0, 5, (3, width)) for name, width in (("first", 6), ("second", 5))}
