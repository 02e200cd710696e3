"""Size and accuracy of models of some classes as a curve."""

import keras
import numpy as np
import pytest
from keras import layers
from labelled_data import labelled_inputs
from masking import randomize

import moda_keras as mk

CLASSES = [2, 0]


@pytest.fixture(scope="module")
def wide():
    inputs = keras.Input((6,))
    x = layers.Dense(24, activation="relu", name="first")(inputs)
    x = layers.Dense(20, activation="relu", name="second")(x)
    model = randomize(keras.Model(inputs, layers.Dense(4)(x)))
    x, y = labelled_inputs(model)
    return mk.decompose(model, x, y, criterion="importance", verbose=0), x, y


def figures(model, full, x, y=None):
    """Of a model of the classes, by loops over the samples."""
    original = full.predict(x, verbose=0)
    scores = model.predict(x, verbose=0)
    right = same = count = 0
    for row in range(len(x)):
        label = original[row].argmax() if y is None else y[row]
        if label not in CLASSES:
            continue
        chosen = CLASSES[int(scores[row].argmax())]
        right += chosen == label
        same += chosen == CLASSES[int(np.argmax([original[row][c] for c in CLASSES]))]
        count += 1
    return right / count, same / count


@pytest.mark.parametrize("labelled", [True, False])
def test_rows_are_the_figures_of_composed_models(labelled, wide):
    modules, x, y = wide
    labels = (y,) if labelled else ()
    calibration = x[np.isin(y, CLASSES)]
    rows = mk.tuning.size_curve(
        modules, CLASSES, x, *labels, sizes=(0.6, 0.3), calibration_data=calibration
    )
    within = {"classes": CLASSES, "calibration_data": calibration}
    found = {share: modules.within(parameters=share, **within) for share in (0.6, 0.3)}
    composed = {
        ("head only", None): mk.compose(mk.ModuleSet.from_units(modules.model, {}), CLASSES)
    }
    for share, each in found.items():
        composed["slim", share] = mk.compose(each, CLASSES)
        composed["repaired", share] = mk.compose(each, CLASSES, calibration_data=calibration)
    full, *others = rows
    assert [(row["model"], row["budget"]) for row in others] == list(composed)
    for row, model in zip(others, composed.values(), strict=True):
        accuracy, agreement = figures(model, modules.model, x, *labels)
        assert row["accuracy"] == (pytest.approx(accuracy) if labelled else None)
        assert row["agreement"] == pytest.approx(agreement)
        assert row["parameters"] == model.count_params()
        assert row["size"] == pytest.approx(row["parameters"] / modules.model.count_params())
        assert row["flops"] == mk.metrics.count_flops(model)
        assert row["milliseconds"] > 0
    assert (full["model"], full["size"], full["flops_share"], full["agreement"]) == (
        "full",
        1,
        1,
        1,
    )
    assert full["accuracy"] == rows[1]["accuracy"] and rows[1]["agreement"] == 1


def test_sizes_that_cannot_be_met(wide):
    modules, x, y = wide
    options = {"budget": "flops", "batch_size": None}
    rows = mk.tuning.size_curve(modules, CLASSES, x, y, **options)
    budgets = [row["budget"] for row in rows[2:]]
    assert budgets == [0.75, 0.5, 0.35, 0.25, 0.15, 0.1][: len(budgets)] and len(budgets) > 3
    assert all(row["flops_share"] <= row["budget"] for row in rows[2:])
    assert {row["milliseconds"] for row in rows} == {None}
    with pytest.raises(ValueError, match="Expected a budget that can be met"):
        mk.tuning.size_curve(modules, CLASSES, x, y, [0.001], **options)


def test_dataset_and_images_of_any_size(wide):
    modules, x, y = wide
    batches = [(x[:20], y[:20]), (x[20:], y[20:])]
    rows = mk.tuning.size_curve(modules, CLASSES, (b for b in batches), sizes=[0.5])
    expected = mk.tuning.size_curve(modules, CLASSES, x, y, sizes=[0.5])
    assert [row["accuracy"] for row in rows] == [row["accuracy"] for row in expected]
    inputs = keras.Input((None, None, 1))
    maps = layers.Conv2D(4, 3, activation="relu")(inputs)
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(maps)))
    images = np.random.default_rng(0).random((9, 5, 5, 1), "float32")
    modules = mk.ModuleSet.from_units(model, {})
    figures = mk.metrics.ModelMeasurement(modules, [0, 1, 2], images).head_only()
    assert (figures["flops"], figures["milliseconds"], figures["agreement"]) == (None, None, 1)


def test_wrong_arguments(wide):
    modules, x, y = wide
    with pytest.raises(ValueError, match="Expected `budget` to be one of"):
        mk.tuning.size_curve(modules, CLASSES, x, y, budget="latency_ms")
    with pytest.raises(ValueError, match="Expected samples of the classes"):
        mk.tuning.size_curve(modules, CLASSES, x[y == 1], y[y == 1])
    measurement = mk.metrics.ModelMeasurement(modules, CLASSES, x, y)
    with pytest.raises(ValueError, match="Expected a model of 2 outputs"):
        measurement.measure(modules.model)
