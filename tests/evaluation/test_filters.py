from itertools import combinations

import keras
import numpy as np
import pytest
from keras import layers
from masking import randomize
from mwt_models import chain, masks_of, with_masks
from small_models import cnn, inputs_of, mlp, random_modules

import moda_keras as mk
from moda_keras.evaluation import cohesion, coupling, kernel_retention_rate
from moda_keras.modules.jaccard import mean_jaccard

LABELS = np.arange(20) % 4


@pytest.fixture(scope="module")
def modules():
    model = cnn()
    model.get_layer("conv1").bias.assign(np.full(5, -3, "float32"))
    return random_modules(model, seed=5)


@pytest.fixture(scope="module")
def x(modules):
    return inputs_of(modules.model, 20)


def kernels(modules, c):
    """The channels of maps that a module has."""
    return {(n, i) for n in ("relu1", "conv2") for i in np.flatnonzero(modules.units[n][c])}


def jaccard(first, second):
    union = first | second
    return len(first & second) / len(union) if union else 1.0


def mean_over_pairs(sets):
    values = [jaccard(a, b) for a, b in combinations(sets, 2)]
    return sum(values) / len(values)


def active_kernels(values_by_name, sample, epsilon=0.0):
    active = set()
    for name, values in values_by_name.items():
        for i in range(values.shape[-1]):
            if any(abs(v) > epsilon for v in np.ravel(values[sample][..., i])):
                active.add((name, i))
    return active


def cohesion_by_loops(values_by_name, labels, classes, epsilon=0.0, units=None):
    """Cohesion, of a module's kernels alone if there are `units` by name."""
    means = []
    for c in classes:
        samples = [i for i, label in enumerate(labels) if label == c]
        active = [active_kernels(values_by_name, i, epsilon) for i in samples]
        if units is not None:
            own = {(name, i) for name in values_by_name for i in np.flatnonzero(units[name][c])}
            active = [each & own for each in active]
        means.append(mean_over_pairs(active))
    return sum(means) / len(means)


def outputs_of(model, names, x):
    probe = keras.Model(model.inputs[0], [model.get_layer(name).output for name in names])
    values = keras.tree.flatten(probe(x, training=False))
    return dict(zip(names, map(keras.ops.convert_to_numpy, values), strict=True))


def test_kernel_retention_rate(modules):
    expected = sum(len(kernels(modules, c)) / 9 for c in range(4)) / 4
    assert kernel_retention_rate(modules) == pytest.approx(expected)
    assert 0 < expected < 1


def test_coupling(modules):
    expected = mean_over_pairs([kernels(modules, c) for c in range(4)])
    assert coupling(modules) == pytest.approx(expected)
    assert 0 < expected < 1


def test_cohesion(modules, x):
    values = outputs_of(modules.model, ["relu1", "conv2"], x)
    expected = cohesion_by_loops(values, LABELS, range(4), units=modules.units)
    assert cohesion(modules, x, LABELS) == pytest.approx(expected)
    everywhere = cohesion_by_loops(values, LABELS, range(4))
    assert cohesion(modules, x, LABELS, within_modules=False) == pytest.approx(everywhere)
    assert 0 < expected < 1 and abs(everywhere - expected) > 0.01


def test_cohesion_of_drawn_samples(modules, x):
    drawn = cohesion(modules, x, LABELS, samples_per_class=2, seed=1)
    assert drawn == cohesion(modules, x, LABELS, samples_per_class=2, seed=1)
    others = {cohesion(modules, x, LABELS, samples_per_class=2, seed=s) for s in (2, 3, 4)}
    assert others != {drawn}


def test_dense_units_are_the_kernels_of_a_model_without_maps():
    modules = random_modules(mlp())
    rates = [modules.units[n].mean(axis=1) * s for n, s in (("first", 6), ("second", 5))]
    assert kernel_retention_rate(modules) == pytest.approx(float(sum(rates).mean() / 11))
    x, labels = inputs_of(modules.model, 9), np.arange(9) % 3
    values = outputs_of(modules.model, ["first", "second"], x)
    assert cohesion(modules, x, labels) == pytest.approx(
        cohesion_by_loops(values, labels, range(3), units=modules.units)
    )


def test_cohesion_where_activations_are_never_exactly_zero():
    modules = random_modules(mlp(activation="gelu"))
    x, labels = inputs_of(modules.model, 9), np.arange(9) % 3
    values = outputs_of(modules.model, ["first", "second"], x)

    def expected(epsilon, units):
        return cohesion_by_loops(values, labels, range(3), epsilon=epsilon, units=units)

    found = cohesion(modules, x, labels, epsilon=0.1)
    assert found == pytest.approx(expected(0.1, modules.units)) and found < 1
    assert cohesion(modules, x, labels) == pytest.approx(expected(1e-3, modules.units))
    counted = mk.decompose(modules.model, x, labels, epsilon=0.2, threshold=0.5, verbose=0)
    assert cohesion(counted, x, labels) == pytest.approx(expected(0.2, counted.units))
    assert expected(0.2, counted.units) != expected(1e-3, counted.units)


def test_cohesion_of_a_nested_model():
    block = keras.Sequential([keras.Input((4,)), layers.Dense(6, "relu", name="inner")])
    inputs = keras.Input((4,))
    model = randomize(keras.Model(inputs, layers.Dense(3)(block(inputs))))
    x, labels = inputs_of(model, 9), np.arange(9) % 3
    values = {"inner": keras.ops.convert_to_numpy(block(x))}
    modules = random_modules(model)
    expected = cohesion_by_loops(values, labels, range(3), units=modules.units)
    assert cohesion(modules, x, labels) == pytest.approx(expected)


def mwt_modules(keep_generators):
    model = with_masks(chain())
    labels = np.arange(15) % 3
    x = inputs_of(model, 15) + labels[:, None, None, None].astype("float32")
    modules = mk.methods.mwt.modularize(
        model, x, labels, threshold=0.8, keep_generators=keep_generators, verbose=0
    )
    return modules, x, labels


@pytest.mark.parametrize("keep_generators", [True, False])
def test_kernels_of_convolutions_without_mask_are_in_every_module_of_mwt(keep_generators):
    modules, *_ = mwt_modules(keep_generators)
    names = ["normed_mask", "own_mask"]
    sets = [
        {("first", i) for i in range(4)}
        | {(name, i) for name in names for i in np.flatnonzero(modules.units[name][c])}
        for c in range(3)
    ]
    expected = sum(len(each) / 15 for each in sets) / 3  # 4, 6 and 5 kernels
    assert kernel_retention_rate(modules) == pytest.approx(expected)
    assert coupling(modules) == pytest.approx(mean_over_pairs(sets))
    assert 0 < coupling(modules) < 1


def test_cohesion_of_mwt_is_that_of_the_masks_or_of_what_is_positive_without_them():
    kept, x, labels = mwt_modules(keep_generators=True)
    values = {f"{name}_mask": mask for name, mask in masks_of(kept.model, x).items()}
    values["first"] = np.ones((15, 4))
    units = {**kept.units, "first": np.ones((3, 4), bool)}
    expected = cohesion_by_loops(values, labels, range(3), units=units)
    assert cohesion(kept, x, labels) == pytest.approx(expected)
    removed, *_ = mwt_modules(keep_generators=False)
    names = {"first_mask": "first_bn", "normed_mask": "normed_bn", "own_mask": "own"}
    maps = outputs_of(removed.model, list(names.values()), x)
    positive = {mark: np.maximum(maps[layer], 0) for mark, layer in names.items()}
    expected = cohesion_by_loops(positive, labels, range(3), units=removed.units)
    assert cohesion(removed, x, labels) == pytest.approx(expected)


@pytest.mark.parametrize(("network", "kernels"), [("vgg16", 4224), ("resnet18", 3904)])
def test_kernels_of_the_papers_networks(network, kernels):
    """Table 2. The convolutions on the shortcuts of ResNet18 do not count in a plain model."""
    modules = mk.ModuleSet.from_units(getattr(mk.zoo, network)(), {})
    maps = [h for h in modules.hidden_activations if len(h.tensor.shape) > 2]
    assert sum(h.units for h in maps) == kernels


def test_classes_without_samples_are_left_out():
    rng = np.random.default_rng(0)
    counts = {"first": rng.integers(0, 3, (3, 6)), "second": rng.integers(0, 3, (3, 5))}
    modules = mk.ModuleSet.from_counts(mlp(), counts, [2, 0, 2])
    units = np.concatenate([modules.units["first"], modules.units["second"]], axis=1)
    assert kernel_retention_rate(modules) == pytest.approx((units[0].mean() + units[2].mean()) / 2)
    sets = [set(np.flatnonzero(units[c])) for c in (0, 2)]
    assert coupling(modules) == pytest.approx(jaccard(*sets))


def test_no_pair():
    counts = {"first": np.ones((3, 6)), "second": np.ones((3, 5))}
    modules = mk.ModuleSet.from_counts(mlp(), counts, [1, 0, 0])
    assert np.isnan(coupling(modules))
    assert np.isnan(cohesion(modules, np.ones((3, 4), "float32"), [0, 1, 2]))


def test_two_empty_sets_are_alike():
    assert mean_jaccard(np.zeros((2, 3), bool)) == 1.0
    assert mean_jaccard(np.array([[True, False], [False, False]])) == 0.0
