"""Units chosen by importance within a budget."""

import keras
import numpy as np
import pytest
from keras import layers
from labelled_data import labelled_inputs, residual
from masking import randomize, relative_difference
from small_models import cnn, mlp, trainable_parameters

import moda_keras as mk
from moda_keras.modules.selection import minimum_units
from moda_keras.slicing import UnitGroups
from moda_keras.tuning import budget
from moda_keras.tuning.unit_choice import (
    group_costs,
    group_gains,
    order_of_groups,
    required_groups,
)


def decomposed(model, **options):
    x, y = labelled_inputs(model)
    return mk.decompose(model, x, y, criterion="importance", verbose=0, **options)


@pytest.fixture(scope="module")
def modules():
    return decomposed(residual())


@pytest.fixture(scope="module")
def wide():
    """A dense net whose units are many enough for a budget to be met closely."""
    inputs = keras.Input((6,))
    x = layers.Dense(40, activation="relu", name="first")(inputs)
    x = layers.Dense(30, activation="relu", name="second")(x)
    return decomposed(randomize(keras.Model(inputs, layers.Dense(4, use_bias=False)(x))))


# ------------------------------------------------------------------------------------- the choice


def test_dense_net_keeps_the_units_of_most_importance_for_their_cost(wide):
    """The choice by loops: rank all units, drop the last ones until the size fits."""
    classes, share = [2, 0], 0.4
    found = wide.within(parameters=share, classes=classes)
    total = trainable_parameters(wide.model)
    costs = {"first": 6 + 1 + 30, "second": 40 + 1 + len(classes)}
    rates = []
    for name, cost in costs.items():
        gain = sum(wide.importance[name][index] for index in classes)
        gain = gain / np.sqrt((gain**2).sum())
        rates += [(value / cost**0.5, name, unit) for unit, value in enumerate(gain)]
    rates.sort(reverse=True)
    best = None
    for number in range(2, len(rates)):
        kept = {name: [u for _, n, u in rates[:number] if n == name] for name in costs}
        a, b = len(kept["first"]), len(kept["second"])
        if a and b and (7 * a + (a + 1) * b + b * len(classes)) / total <= share:
            best = kept
    for name, units in found.union(classes).items():
        assert np.flatnonzero(units).tolist() == sorted(best[name])


def test_each_class_is_within_the_budget_and_spends_it(wide):
    found = wide.within(parameters=0.4)
    sizes = mk.metrics.module_size(found)
    assert ((sizes > 0.35) & (sizes <= 0.4)).all()
    assert found.threshold is None
    assert found.subtask is None
    assert mk.compose(found, [1], logits=True).count_params() == pytest.approx(
        sizes[1] * trainable_parameters(wide.model)
    )


def test_subtask_has_joint_units_within_the_budget(wide):
    found = wide.within(flops=0.3, classes=[3, 1, 0])
    for units in found.units.values():
        assert (units[[3, 1]] == units[0]).all()
        assert not units[2].any()
    flops = [mk.metrics.count_flops(model) for model in (found.compose([0, 3, 1]), wide.model)]
    assert 0.25 < flops[0] / flops[1] <= 0.3
    assert found.compose([1, 3]).count_params() < found.compose([0, 3, 1]).count_params()


def test_other_classes_than_the_subtask_are_refused(wide, tmp_path):
    found = wide.within(parameters=0.3, classes=["3", "1"])
    path = tmp_path / "sub.modules"
    found.save(path)
    for each in (found, mk.load_modules(path)):
        assert each.subtask == (3, 1)
        assert each.classes_with_modules().tolist() == [1, 3]
        for use in (each.compose, each.plan, each.union):
            with pytest.raises(ValueError, match=r"sub-task \['3', '1'\].*class 2 \('2'\)"):
                use([1, 2])
        with pytest.raises(ValueError, match=r"sub-task \['3', '1'\].*class 2 \('2'\)"):
            each[2]
        with pytest.raises(ValueError, match=r"sub-task.*class 0 \('0'\)"):
            each["0"]
        assert [module.class_index for module in each] == [1, 3] and len(each) == 2
        assert each["3"].size == each[1].size
    lines = []
    found.summary(print_fn=lines.append)
    assert [line.split()[0] for line in lines[2:-1]] == ["1", "3"]
    assert lines[-1] == "2 other classes, for which no units were chosen"
    assert lines[-1] in found._repr_html_() and "not chosen" not in found._repr_html_()
    lines = []
    found.summary(print_fn=lines.append, max_classes=1)
    assert lines[3:] == [
        "... and 1 more classes; " + "2 other classes, for which no units were chosen"
    ]
    # Another choice, or the counts, are for all classes again.
    assert found.within(parameters=0.3, classes=[2, 0]).subtask == (2, 0)
    assert found.with_threshold(0.5).compose([2, 0]).output_shape == (None, 2)


def test_chosen_modules_are_diagnosed_without_a_threshold(wide, validation):
    for found in (wide.within(parameters=0.4), wide.within(parameters=0.4, classes=[1, 3])):
        assert isinstance(found.diagnose(*validation), list)


def test_chosen_modules_are_saved_as_they_are(wide, tmp_path):
    found = wide.within(parameters=0.4)
    path = tmp_path / "each.modules"
    found.save(path)
    loaded = mk.load_modules(path)
    assert loaded.threshold is None
    for name, units in found.units.items():
        np.testing.assert_array_equal(loaded.units[name], units)
        np.testing.assert_array_equal(loaded.importance[name], found.importance[name])
        np.testing.assert_array_equal(loaded.activation_counts[name], found.activation_counts[name])


def test_composed_model_is_the_masked_model(modules):
    found = modules.within(parameters=0.5, classes=[3, 1])
    x, _ = labelled_inputs(modules.model)
    composed, masked = (
        f(found, [3, 1]).predict(x, verbose=0) for f in (mk.compose, mk.masked_model)
    )
    assert relative_difference(composed, masked) < 1e-5
    tied = found.union([3, 1])
    np.testing.assert_array_equal(tied["conv1"], tied["relu"])  # one residual stream


def test_whole_budget_keeps_everything(modules):
    found = modules.within(parameters=1.0)
    assert all(units.all() for units in found.units.values())


def test_smallest_budget_leaves_the_minimum():
    modules = decomposed(mlp())
    with pytest.raises(ValueError, match=r"parameters=0\.001.*classes \['0', '2'\] needs 0\.\d+"):
        modules.within(parameters=0.001, classes=[0, 2])
    smallest = (5 * 1 + 2 * 1 + 2 * 1) / trainable_parameters(modules.model)
    found = modules.within(parameters=smallest, classes=[0])
    assert [int(units[0].sum()) for units in found.units.values()] == [1, 1]


def test_class_without_samples_is_left_out():
    model = mlp()
    x, y = labelled_inputs(model)
    with pytest.warns(UserWarning, match="no sample"):
        modules = mk.decompose(model, x[y < 2], y[y < 2], criterion="importance", verbose=0)
    found = modules.within(parameters=0.6)
    assert not any(units[2].any() for units in found.units.values())
    with pytest.raises(ValueError, match="had none"):
        modules.within(parameters=0.6, classes=[0, 2])


def test_units_that_are_logits_stay():
    image = keras.Input((4, 4, 2))
    x = layers.Conv2D(3, 3, activation="relu", name="features")(image)
    x = layers.Conv2D(4, 1, activation="relu", name="scores")(x)
    model = randomize(keras.Model(image, layers.GlobalAveragePooling2D()(x)))
    found = decomposed(model).within(parameters=0.45, classes=[3, 1])
    assert found.union([3, 1])["scores"][[3, 1]].all()


# ------------------------------------------------------------------------------- order and costs


def test_order_is_by_gain_for_the_cost():
    gains, costs = np.array([1.0, 4.0, 3.0, 0.1]), np.array([1.0, 16.0, 1.0, 0.0])
    assert order_of_groups(gains, costs, 1.0).tolist() == [3, 2, 0, 1]
    assert order_of_groups(gains * [0.9, 1, 1, 1], costs).tolist() == [3, 2, 1, 0]
    assert order_of_groups(gains, costs, 0.0).tolist() == [3, 1, 2, 0]


def test_gains_of_a_group_are_summed_over_its_units(modules):
    groups = mk.slicing.unit_groups(modules.slicer)
    classes = np.array([3, 1])
    tables = {name: table[classes].sum(axis=0) for name, table in modules.importance.items()}
    gains = group_gains(tables, groups)
    expected = np.zeros(groups.number)
    for name, table in modules.importance.items():
        values = table[3] + table[1]
        for unit, value in enumerate(values / np.sqrt((values**2).sum())):
            expected[groups.of_units[name][unit]] += value
    np.testing.assert_allclose(gains, expected)


def test_cost_of_a_group_is_what_it_saves(modules):
    slicer, outputs = modules.slicer, np.array([3, 1])
    groups = mk.slicing.unit_groups(slicer)
    costs = group_costs(slicer, groups, outputs, lambda plan: plan.trainable_size)
    whole = slicer.plan({}, outputs).trainable_size
    for group in range(groups.number):
        units = groups.units(np.arange(groups.number) != group)
        assert costs[group] == whole - slicer.plan(units, outputs).trainable_size > 0


def test_channels_that_go_only_together_have_a_cost():
    """Of a grouped normalization one channel alone saves little; the model still gets smaller."""
    image = keras.Input((4, 4, 2))
    x = layers.Conv2D(8, 3, name="conv")(image)
    x = layers.ReLU(name="relu")(layers.GroupNormalization(groups=4)(x))
    model = randomize(keras.Model(image, layers.Dense(3)(layers.Flatten()(x))))
    found = decomposed(model).within(parameters=0.4, classes=[0, 2])
    assert mk.metrics.composed_size(found, [0, 2]) <= 0.4


def test_every_activation_keeps_its_first_units():
    groups = UnitGroups(
        number=600,
        of_units={"a": np.arange(500), "b": np.concatenate([np.arange(10), np.arange(500, 600)])},
        of_outputs=np.full(3, -1),
    )
    order = np.random.default_rng(0).permutation(600)
    is_required = required_groups(order, groups, np.array([0]))
    expected = set()
    for name, ids in groups.of_units.items():
        ranked = [group for group in order if group in ids]
        expected |= set(ranked[: minimum_units(len(groups.of_units[name]))])
    assert set(np.flatnonzero(is_required)) == expected


# ------------------------------------------------------------------------- latency and accuracy


def test_latency_is_that_of_the_composed_model(wide, monkeypatch):
    """The time is not of this test: a model is taken to need a microsecond a parameter."""
    asked = []

    def latency(model, batch_size):
        asked.append(batch_size)
        return model.count_params() / 1000

    monkeypatch.setattr(budget, "measure_latency", latency)
    found = wide.within(latency_ms=0.5, classes=[1, 2], batch_size=3)
    assert 450 < found.compose([1, 2]).count_params() <= 500
    assert set(asked) == {3}


@pytest.mark.parametrize("size", [0, -3, 1.5, None, True])
def test_latency_of_no_batch_is_refused(size, wide):
    for measure in (
        lambda: mk.metrics.measure_latency(wide.model, batch_size=size),
        lambda: wide.within(parameters=0.5, batch_size=size),
    ):
        with pytest.raises(ValueError, match=r"`batch_size` to be a positive int.*batch_size="):
            measure()
    with pytest.raises(ValueError, match="`runs` to be a positive int"):
        mk.metrics.measure_latency(wide.model, runs=size)
    if size is not None:
        x, y = np.zeros((4, *wide.model.input_shape[1:])), np.arange(4)
        with pytest.raises(ValueError, match="`batch_size` to be a positive int"):
            mk.metrics.ModelMeasurement(wide, [0, 1], x, y, batch_size=size)


def test_latency_of_a_model_is_measured():
    inputs = {"a": keras.Input((3,), name="a"), "b": keras.Input((2,), dtype="int32", name="b")}
    x = layers.Concatenate()([inputs["a"], layers.Rescaling(1.0)(inputs["b"])])
    assert mk.metrics.measure_latency(keras.Model(inputs, layers.Dense(2)(x)), runs=3) > 0
    with pytest.raises(ValueError, match=r"fixed.*\(None, None, 3\)"):
        mk.metrics.measure_latency(
            keras.Sequential([keras.Input((None, 3)), layers.GlobalMaxPooling1D()])
        )


def loss_on(modules, classes, x, y):
    full = mk.metrics.full_accuracy(modules.model, classes, x, y)
    return full - mk.metrics.reuse_accuracy(modules, classes, x, y)


@pytest.fixture(scope="module")
def validation(wide):
    """Samples that the full model classifies without error."""
    x, _ = labelled_inputs(wide.model, samples=200, seed=3)
    return x, np.asarray(wide.model.predict(x, verbose=0)).argmax(axis=1)


def test_accuracy_loss_of_a_subtask_is_within_the_limit(wide, validation):
    labels, counts = np.unique(validation[1], return_counts=True)
    classes = labels[np.argsort(-counts)[:2]].tolist()
    found = wide.within(max_accuracy_loss=0.05, classes=classes, validation_data=validation)
    assert loss_on(found, classes, *validation) <= 0.05
    size = mk.metrics.composed_size(found, classes)
    assert size < 0.9
    smaller = wide.within(parameters=0.5 * size, classes=classes)
    assert loss_on(smaller, classes, *validation) > 0.05


def test_accuracy_loss_is_the_mean_over_subtasks(wide, validation):
    x, y = validation
    present = np.unique(y)
    assert len(present) == 4
    found = wide.within(max_accuracy_loss=0.05, validation_data=(x, y))
    subtasks = mk.tuning.sample_subtasks(present, seed=0)
    losses = [loss_on(found, list(each), x, y) for each in subtasks]
    assert np.mean(losses) <= 0.05 + 1e-9
    assert np.mean(mk.metrics.module_size(found)) < 0.95


def test_data_of_one_class_serves(wide, validation):
    x, y = validation
    only = y == y[0]
    classes = [int(y[0]), int((y[0] + 1) % 4)]
    found = wide.within(max_accuracy_loss=0.1, classes=classes, validation_data=(x[only], y[only]))
    assert mk.metrics.composed_size(found, classes) < 1


def test_calibration_data_reaches_compose(wide, validation, monkeypatch):
    received = []

    def compose(modules, classes, **options):
        received.append(options.get("calibration_data"))
        return mk.compose(modules, classes)

    monkeypatch.setattr(budget, "compose", compose)
    options = {"max_accuracy_loss": 0.1, "classes": [0, 1], "validation_data": validation}
    wide.within(**options, calibration_data=validation[0])
    assert all(each is validation[0] for each in received)
    received.clear()
    wide.within(**options)
    assert set(received) == {None}


def test_units_are_chosen_in_steps_with_calibration_data(wide, validation):
    """By hand: repair the larger choice at full size, measure importance, choose among the rest."""
    classes, x = [3, 1], validation[0]
    found = wide.within(parameters=0.3, classes=classes, calibration_data=x)
    assert mk.metrics.composed_size(found, classes) <= 0.3
    larger = wide
    for size in (0.3 ** (1 / 3), 0.3 ** (2 / 3)):
        larger = larger.within(parameters=size, classes=classes)
        masked = mk.masked_model(larger, classes, calibration_data=x)
        remaining = mk.decompose(masked, x, criterion="importance", verbose=0).importance
        larger = wide.with_units(wide.units)
        larger.importance = {
            name: np.tile(table.sum(axis=0) / 2, (4, 1)) for name, table in remaining.items()
        }
    expected = larger.within(parameters=0.3, classes=classes)
    at_once = wide.within(parameters=0.3, classes=classes)
    for name, units in expected.union(classes).items():
        assert (found.union(classes)[name] == units).all()
    assert any((found.units[name] != at_once.units[name]).any() for name in found.units)
    batches = ((x[i : i + 16], np.zeros(16)) for i in range(0, len(x), 16))
    again = wide.within(parameters=0.3, classes=classes, calibration_data=batches)
    assert all((found.units[name] == again.units[name]).all() for name in found.units)


# -------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "exactly one.*Received: none"),
        ({"parameters": 0.3, "flops": 0.3}, "exactly one.*'parameters': 0.3, 'flops': 0.3"),
        ({"parameters": 0}, r"`parameters` in \(0, 1\].*parameters=0"),
        ({"parameters": -0.5}, "parameters=-0.5"),
        ({"flops": 1.5}, r"`flops` in \(0, 1\]"),
        ({"flops": float("nan")}, "flops=nan"),
        ({"parameters": True}, "parameters=True"),
        ({"parameters": "small"}, "parameters='small'"),
        ({"latency_ms": float("inf")}, "positive number of milliseconds.*inf"),
        ({"max_accuracy_loss": 1.0}, r"`max_accuracy_loss` in \[0, 1\)"),
        ({"max_accuracy_loss": 0.1}, "`validation_data=.*=None"),
        ({"parameters": 0.5, "validation_data": (1, 2)}, "`validation_data=.*=tuple"),
        ({"parameters": 0.5, "calibration_data": 1}, "`calibration_data` with `classes`"),
        ({"latency_ms": 5, "classes": [0, 1], "calibration_data": 1}, "other than `latency_ms`"),
        (
            {"max_accuracy_loss": 0.1, "validation_data": (1, 2), "classes": [1]},
            "at least two classes",
        ),
        ({"parameters": 0.5, "classes": ["cow"]}, "Unknown class.*'cow'"),
        ({"parameters": 0.5, "classes": [1, 1]}, "Duplicate class"),
        ({"parameters": 0.5, "classes": []}, "at least one class"),
    ],
)
def test_bad_budgets_are_refused(wide, arguments, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        wide.within(**arguments)


def test_modules_without_importance_are_refused():
    model = cnn()
    x, y = labelled_inputs(model)
    with pytest.raises(ValueError, match=r'criterion="importance"'):
        mk.decompose(model, x, y, verbose=0).within(parameters=0.5)
    with pytest.raises(ValueError, match="`ModuleSet`"):
        mk.tuning.within(model, parameters=0.5)


def test_chosen_units_are_not_thrown_away_by_a_threshold():
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(3)]
    )
    x, y = np.random.default_rng(0).normal(size=(30, 4)), np.arange(30) % 3
    modules = mk.decompose(model, x, y, criterion="importance", verbose=0)
    chosen = modules.within(parameters=0.5, classes=[2, 0])
    for call in (chosen.tune_threshold, lambda *data: mk.tuning.threshold_curve(chosen, *data)):
        with pytest.raises(ValueError, match="would throw away"):
            call(x, y)
    assert "parameters" in repr(chosen.plan([2, 0])) and len(repr(chosen.plan([2, 0]))) < 200
