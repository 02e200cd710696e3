import keras
import numpy as np
import pytest
from small_models import cnn, mlp, random_modules, trainable_parameters

import moda_keras as mk
from moda_keras.evaluation import layer_overlap, mean_overlap, module_overlap, module_size

LAYERS = ["conv1", "conv2", "fc", "logits"]


@pytest.fixture(scope="module")
def modules():
    return random_modules(cnn(), seed=3)


def kept_weights(modules, c):
    """The weight elements of the module of class c, as a set of indices for each layer."""
    conv1, conv2, fc = (set(np.flatnonzero(modules.units[n][c])) for n in ("relu1", "conv2", "fc"))
    kept = {name: set() for name in LAYERS}
    for layer, inputs, outputs in (
        ("conv1", {0, 1}, conv1),
        ("conv2", conv1, conv2),
        # The map that is flattened is 3x3, channels last.
        ("fc", {3 * 4 * h + 4 * w + i for h in range(3) for w in range(3) for i in conv2}, fc),
        ("logits", fc, {c}),
    ):
        kernel = modules.model.get_layer(layer).get_weights()[0]
        for index in np.ndindex(kernel.shape):
            if index[-2] in inputs and index[-1] in outputs:
                kept[layer].add(("kernel", *index))
        kept[layer] |= {("bias", o) for o in outputs}
    return kept


def sizes_of_layers(modules):
    return {n: sum(w.size for w in modules.model.get_layer(n).get_weights()) for n in LAYERS}


def pairs(classes):
    return [(c, d) for c in range(classes) for d in range(c + 1, classes)]


def test_module_overlap_is_the_share_of_common_weights(modules):
    kept = [kept_weights(modules, c) for c in range(4)]
    whole = trainable_parameters(modules.model)
    assert whole == sum(sizes_of_layers(modules).values())
    overlap = module_overlap(modules)
    for c in range(4):
        for d in range(4):
            common = sum(len(kept[c][name] & kept[d][name]) for name in LAYERS)
            assert overlap[c, d] == pytest.approx(common / whole, abs=1e-12)
    assert 0 < overlap[0, 1] < overlap[0, 0]


def test_diagonal_is_the_size(modules):
    np.testing.assert_allclose(np.diag(module_overlap(modules)), module_size(modules))


def test_mean_overlap_goes_over_pairs(modules):
    overlap = module_overlap(modules)
    expected = sum(overlap[c, d] for c, d in pairs(4)) / 6
    assert mean_overlap(modules) == pytest.approx(expected)


def test_layer_overlap_is_relative_to_the_layer(modules):
    kept = [kept_weights(modules, c) for c in range(4)]
    received = layer_overlap(modules)
    assert list(received) == LAYERS
    for name, size in sizes_of_layers(modules).items():
        common = [len(kept[c][name] & kept[d][name]) / size for c, d in pairs(4)]
        assert received[name] == pytest.approx(sum(common) / 6, abs=1e-12)


def test_logits_are_never_shared(modules):
    assert layer_overlap(modules)["logits"] == 0


@pytest.fixture(scope="module")
def with_absent_class():
    model = mlp()
    rng = np.random.default_rng(0)
    counts = {"first": rng.integers(0, 3, (3, 6)), "second": rng.integers(0, 3, (3, 5))}
    return mk.ModuleSet.from_counts(model, counts, [2, 0, 2])


def test_class_without_samples_has_no_overlap(with_absent_class):
    overlap = module_overlap(with_absent_class)
    assert np.isnan(overlap[1]).all()
    assert np.isnan(overlap[:, 1]).all()
    assert np.isfinite(overlap[np.ix_([0, 2], [0, 2])]).all()
    assert mean_overlap(with_absent_class) == overlap[0, 2]
    assert all(np.isfinite(list(layer_overlap(with_absent_class).values())))


def test_one_module_has_no_pair():
    counts = {"first": np.ones((3, 6)), "second": np.ones((3, 5))}
    modules = mk.ModuleSet.from_counts(mlp(), counts, [1, 0, 0])
    assert np.isnan(mean_overlap(modules))
    assert all(np.isnan(list(layer_overlap(modules).values())))


def test_weights_in_nested_models_count():
    block = keras.Sequential([keras.Input((4,)), keras.layers.Dense(6, "relu", name="inner")])
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(3, name="head")(block(inputs)))
    units = {"inner": np.array([[1, 1, 0, 0, 0, 0], [0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]], bool)}
    modules = mk.ModuleSet.from_units(model, units)
    overlap = layer_overlap(modules)
    assert overlap["inner"] == pytest.approx(1 / 6 / 3)  # one unit of six, in one pair of three
    assert module_overlap(modules)[0, 1] == pytest.approx(5 / (5 * 6 + 7 * 3))
