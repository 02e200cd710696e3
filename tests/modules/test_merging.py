"""Modules of parts of the data, merged: those of one pass over all of it."""

import keras
import numpy as np
import pytest
from keras import layers

import moda_keras as mk

CLASSES = 3
RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(90, 4)).astype("float32"), np.arange(90) % CLASSES
# Of unequal size; the second has no sample of class 2.
PARTS = [np.arange(0, 20), np.array([i for i in range(20, 50) if i % 3 != 2]),
         np.array([i for i in range(20, 50) if i % 3 == 2] + list(range(50, 90)))]  # fmt: skip


def network(activation="relu"):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((4,))
    x = layers.Dense(8, activation=activation, name="first")(inputs)
    x = layers.Dense(6, activation="relu", name="second")(x)
    return keras.Model(inputs, layers.Dense(CLASSES)(x))


@pytest.fixture(scope="module")
def model():
    return network()


def parts_of(model, **options):
    with pytest.warns(UserWarning, match="no sample of the classes"):
        return [mk.decompose(model, X[i], Y[i], verbose=0, **options) for i in PARTS]


@pytest.mark.parametrize("criterion", ["frequency", "importance"])
def test_merged_modules_are_those_of_all_data(model, criterion):
    whole = mk.decompose(model, X, Y, criterion=criterion, threshold=0.6, verbose=0)
    parts = parts_of(model, criterion=criterion, threshold=0.6)
    for merged in (mk.ModuleSet.merge(parts), parts[0].merge(*parts[1:])):
        assert merged.model is model
        assert merged.sample_counts.tolist() == whole.sample_counts.tolist()
        assert (merged.threshold, merged.criterion) == (0.6, criterion)
        for name in whole.units:
            np.testing.assert_array_equal(merged.units[name], whole.units[name])
            np.testing.assert_array_equal(
                merged.activation_counts[name], whole.activation_counts[name]
            )
            if criterion == "importance":
                np.testing.assert_allclose(
                    merged.importance[name], whole.importance[name], rtol=1e-5
                )


def test_parts_come_from_files_of_several_machines(model, tmp_path):
    for number, part in enumerate(parts_of(model)):
        part.save(tmp_path / f"{number}.modules")
    merged = mk.ModuleSet.merge(mk.load_modules(path) for path in sorted(tmp_path.iterdir()))
    whole = mk.decompose(model, X, Y, verbose=0)
    for name in whole.units:
        np.testing.assert_array_equal(merged.units[name], whole.units[name])
    assert merged.compose([0, 2]).output_shape == (None, 2)


def test_parts_are_not_changed(model):
    parts = parts_of(model)
    before = parts[0].activation_counts["first"].copy()
    mk.ModuleSet.merge(parts)
    np.testing.assert_array_equal(parts[0].activation_counts["first"], before)


def other_weights(model):
    other = network()
    other.layers[-1].bias.assign([0.0, 0.0, 1.0])
    return mk.decompose(other, X, Y, verbose=0)


WRONG = {
    "threshold": (lambda m: mk.decompose(m, X, Y, threshold=0.5, verbose=0), "`threshold`"),
    "names": (lambda m: mk.decompose(m, X, Y, class_names=list("abc"), verbose=0), "`class_names`"),
    "criterion": (
        lambda m: mk.decompose(m, X, Y, criterion="importance", verbose=0), "`criterion`"
    ),
    "variance": (
        lambda m: mk.decompose(m, X, Y, criterion="variance", verbose=0), "once on all data"
    ),
    "weights": (other_weights, "other values"),
    "from units": (lambda m: mk.ModuleSet.from_units(m, {}), "needs the frequencies"),
    "chosen units": (lambda m: mk.decompose(m, X, Y, criterion="importance", verbose=0).within(
        parameters=0.5), "Merge first"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_modules_that_do_not_fit_are_named(model, name):
    make, words = WRONG[name]
    with pytest.raises(ValueError, match=words):
        mk.ModuleSet.merge([mk.decompose(model, X, Y, verbose=0), make(model)])


def test_epsilons_of_each_part_alone_are_named():
    model = network("gelu")
    first, second = (
        mk.decompose(model, X, Y, epsilon={"first": each}, verbose=0) for each in (0.1, 0.2)
    )
    with pytest.raises(ValueError, match="give `decompose` the epsilons of the first"):
        first.merge(second)


def test_what_is_no_module_set_is_named(model):
    modules = mk.decompose(model, X, Y, verbose=0)
    with pytest.raises(TypeError, match="Received: Sequential"):
        modules.merge(keras.Sequential())
    with pytest.raises(ValueError, match="Received: none"):
        mk.ModuleSet.merge([])


def test_the_same_part_twice_is_refused(model):
    modules = mk.decompose(model, X, Y, verbose=0)
    with pytest.raises(ValueError, match="once"):
        mk.ModuleSet.merge([modules, modules])
