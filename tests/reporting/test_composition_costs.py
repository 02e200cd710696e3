from itertools import combinations

import keras
import numpy as np
import pytest
from keras import layers
from masking import randomize
from small_models import cnn, mlp, random_modules

import moda_keras as mk
from moda_keras.reporting import composition_costs as module_under_test
from moda_keras.reporting.composition_costs import composition_costs


def measured(modules, classes):
    """Parameters and multiply-accumulates of the composed model itself."""
    model = mk.compose(modules, list(classes))
    parameters = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    return parameters, mk.metrics.count_flops(model)


@pytest.fixture(scope="module")
def twelve():
    """Modules of twelve classes; their costs start from pairs."""
    modules = random_modules(mlp(classes=12), seed=3, fraction=0.2)
    return modules, composition_costs(modules)


def test_all_subsets_of_few_classes_are_those_of_composed_models():
    modules = random_modules(cnn(classes=4))
    costs = composition_costs(modules)
    assert (costs.base, costs.errors, len(costs.known)) == (0, (), 15)
    for classes in ((2,), (0, 3), (0, 1, 2), (0, 1, 2, 3)):
        assert costs.known[classes] == measured(modules, classes)
    assert (costs.parameters, costs.flops) == (
        sum(int(np.prod(weight.shape)) for weight in modules.model.trainable_weights),
        mk.metrics.count_flops(modules.model),
    )


def test_single_classes_pairs_and_all_classes_of_many_are_exact(twelve):
    modules, costs = twelve
    assert costs.base == 2
    assert {*combinations(range(12), 1), *combinations(range(12), 2)} < set(costs.known)
    for classes in ((7,), (3, 11), tuple(range(12))):
        assert costs.known[classes] == measured(modules, classes)


def test_estimate_is_a_power_of_what_pairs_lack(twelve):
    _, costs = twelve
    k, powers = costs.powers[1][0], np.array(costs.powers[1][1:])
    classes = tuple(range(k))
    pairs = np.array([costs.known[pair] for pair in combinations(classes, 2)])
    total = np.array(costs.known[tuple(range(12))])
    expected = total * (1 - (1 - pairs.mean(axis=0) / total) ** powers)
    assert costs.estimate(classes) == pytest.approx(np.maximum(expected, pairs.max(axis=0)))


def test_estimate_is_between_the_largest_pair_and_all_classes(twelve):
    modules, costs = twelve
    random = np.random.default_rng(0)
    for k in (3, 5, 8, 11):
        classes = sorted(random.choice(12, size=k, replace=False).tolist())
        largest = np.max([costs.known[pair] for pair in combinations(classes, 2)], axis=0)
        estimate = costs.estimate(classes)
        assert (largest <= estimate).all()
        assert (estimate <= np.array(costs.known[tuple(range(12))])).all()
        off = np.abs(np.subtract(estimate, measured(modules, classes)))
        assert (off / (costs.parameters, costs.flops) < 0.1).all()


def test_errors_are_of_compositions_that_the_estimate_was_not_made_from(twelve):
    _, costs = twelve
    checked = [each for each in mk.tuning.sample_subtasks(range(12), seed=1) if 2 < len(each) < 12]
    whole = costs.parameters, costs.flops
    errors = [
        max(
            abs(a - b) / c for a, b, c in zip(costs.estimate(s), costs.known[s], whole, strict=True)
        )
        for s in checked
    ]
    assert costs.errors == pytest.approx(errors)


def test_a_model_of_many_steps_is_estimated_from_single_classes(monkeypatch):
    modules = random_modules(mlp(classes=6), seed=3)
    monkeypatch.setattr(module_under_test, "MAX_PLANNED_STEPS", 1)
    costs = composition_costs(modules)
    assert costs.base == 1
    assert costs.known[(4,)] == measured(modules, (4,))
    single = np.array([costs.known[(c,)] for c in (0, 4)])
    assert (costs.estimate((0, 4)) >= single.max(axis=0)).all()


def test_modules_that_are_all_the_same_need_no_estimate(monkeypatch):
    model = mlp(classes=4)
    units = {h.name: np.ones((4, h.units), bool) for h in mk.find_hidden_activations(model)}
    monkeypatch.setattr(module_under_test, "MAX_PLANNED_STEPS", 1)
    costs = composition_costs(mk.ModuleSet.from_units(model, units))
    assert np.isfinite(costs.estimate((0, 1))).all()


def test_measured_subtasks_are_known():
    modules = random_modules(mlp(classes=12), seed=3, fraction=0.2)
    classes = (0, 2, 5, 6, 7, 9)
    parameters, flops = measured(modules, classes)
    costs = composition_costs(modules)
    assert classes not in costs.known
    row = {"classes": classes, "size": parameters / costs.parameters, "flops": flops / costs.flops}
    assert composition_costs(modules, [row]).known[classes] == (parameters, flops)
    assert composition_costs(modules, [{"classes": classes}]).known.keys() == costs.known.keys()


def test_classes_without_a_module_are_left_out():
    counts = {"first": np.tile([4, 0, 3, 4, 1, 4], (3, 1)), "second": np.eye(3, 5, dtype=int) * 4}
    costs = composition_costs(mk.ModuleSet.from_counts(mlp(), counts, [4, 0, 4]))
    assert set(costs.known) == {(0,), (2,), (0, 2)}


def test_flops_are_zero_without_a_fixed_input_shape(monkeypatch):
    image = keras.Input((None, None, 2))
    x = layers.Conv2D(6, 3, activation="relu")(image)
    x = layers.GlobalAveragePooling2D()(x)
    modules = random_modules(randomize(keras.Model(image, layers.Dense(3)(x))))
    assert {flops for _, flops in composition_costs(modules).known.values()} == {0}
    monkeypatch.setattr(module_under_test, "MAX_PLANNED_STEPS", 1)
    row = {"classes": (0, 2), "size": 0.5, "flops": float("nan")}
    costs = composition_costs(modules, [row])
    assert costs.known[0, 2] == (round(0.5 * costs.parameters), 0)
    assert np.isfinite(costs.estimate((0, 1))).all()
