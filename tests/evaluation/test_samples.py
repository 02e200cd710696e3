"""Measures take what `fit` takes: inputs in any structure, labels in any form; and only modules."""

import keras
import numpy as np
import pytest
from keras import layers
from masking import randomize
from small_models import random_modules

import moda_keras as mk
from moda_keras.evaluation import shared_units
from moda_keras.experiments import MaskedEvaluator, SubtaskMeasurement, sweep_subtasks, verify

SUBTASKS = [(0, 1), (1, 2), (0, 1, 2)]


def two_inputs(structure):
    """The names of the inputs are not in the alphabetical order of their places."""
    second, first = keras.Input((3,), name="second"), keras.Input((4,), name="first")
    x = layers.Concatenate()([second, layers.Dense(3, "relu", name="of_first")(first)])
    output = layers.Dense(3)(layers.Dense(6, "relu", name="joint")(x))
    inputs = {"list": [second, first], "dict": {"second": second, "first": first}}
    return randomize(keras.Model(inputs[structure], output))


def two_arrays(samples=30):
    random = np.random.default_rng(0)
    second = random.normal(size=(samples, 3)).astype("float32")
    return second, random.normal(size=(samples, 4)).astype("float32")


@pytest.fixture(scope="module")
def one_array(modules, data):
    x, y = data
    return MaskedEvaluator(modules).accuracy([(0, 1), (1, 2, 3)], x, y)


@pytest.mark.parametrize("of_model", ["list", "dict"])
def test_models_of_several_inputs(of_model, tmp_path):
    second, first = two_arrays()
    y = np.arange(30) % 3
    modules = random_modules(two_inputs(of_model))
    # A model that takes all columns at once: what the measures should find.
    columns = keras.Input((7,))
    parts = [columns[:, :3], columns[:, 3:]]
    given = {"second": parts[0], "first": parts[1]} if of_model == "dict" else parts
    single = mk.ModuleSet.from_units(keras.Model(columns, modules.model(given)), modules.units)
    x = np.concatenate([second, first], axis=1)
    expected = [mk.metrics.reuse_accuracy(single, subtask, x, y) for subtask in SUBTASKS]
    assert min(expected) > 0 and len(set(expected)) > 1

    inputs = {"first": first, "second": second}  # Keras takes a dict for a list of inputs too
    for x_given in [inputs] if of_model == "dict" else [inputs, [second, first]]:
        found = [mk.metrics.reuse_accuracy(modules, each, x_given, y) for each in SUBTASKS]
        assert found == expected
        assert MaskedEvaluator(modules).accuracy(SUBTASKS, x_given, y).tolist() == expected
    assert all(
        each.accuracy == each.composed_accuracy for each in verify(modules, SUBTASKS, inputs, y)
    )
    rows = sweep_subtasks(modules, inputs, y, tmp_path / "rows.csv", subtasks=SUBTASKS)
    assert [row["accuracy"] for row in rows] == expected
    for row in rows:
        full = mk.metrics.full_accuracy(modules.model, row["classes"], inputs, y)
        assert row["full_accuracy"] == pytest.approx(full)
    assert mk.metrics.cohesion(modules, inputs, y) == mk.metrics.cohesion(single, x, y)


@pytest.mark.parametrize(
    "form",
    [list, lambda y: y[:, None], lambda y: np.eye(4)[y], lambda y: np.array([str(c) for c in y])],
    ids=["list", "column", "one-hot", "names"],
)
def test_labels_in_any_form(form, modules, data, one_array):
    x, y = data[0], form(data[1])
    assert (
        MaskedEvaluator(modules).accuracy([(0, 1), (1, 2, 3)], x, y).tolist() == one_array.tolist()
    )
    assert mk.metrics.reuse_accuracy(modules, (0, 1), x, y) == one_array[0]
    assert mk.metrics.cohesion(modules, x, y) == mk.metrics.cohesion(modules, *data)
    (each,) = verify(modules, [(0, 1)], x, y)
    assert each.composed_accuracy == one_array[0]
    (row,) = SubtaskMeasurement(modules, x, y).measure([(0, 1)])
    assert row["accuracy"] == one_array[0]


@pytest.mark.parametrize("form", [list, lambda y: y[:, None], lambda y: np.eye(4)[y]])
def test_full_accuracy_takes_labels_in_any_form(form, modules, data):
    expected = mk.metrics.full_accuracy(modules.model, [0, 2], *data)
    assert mk.metrics.full_accuracy(modules.model, [0, 2], data[0], form(data[1])) == expected


def test_labels_that_are_not_classes_are_refused(modules, data):
    x, y = data
    with pytest.raises(ValueError, match=r"Expected labels among .*Received: labels \['cow'\]"):
        mk.metrics.reuse_accuracy(modules, [0, 1], x, np.where(y == 0, "cow", "1"))
    with pytest.raises(ValueError, match="Expected `y` to be class indices"):
        mk.metrics.full_accuracy(modules.model, [0, 1], x, y.astype(str))
    with pytest.raises(ValueError, match="class indices from 0 to 3"):
        mk.metrics.full_accuracy(modules.model, [4], x, y)
    with pytest.raises(ValueError, match="one sample for each label"):
        mk.metrics.cohesion(modules, x, y[:-1])


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="only TensorFlow has tensors of strings"
)
def test_inputs_of_strings(tmp_path):
    keras.utils.set_random_seed(0)
    words = np.array(["good", "bad", "so"] * 8)
    lookup = layers.StringLookup(vocabulary=["good", "bad", "so"])
    text = keras.Input((1,), dtype="string")
    x = layers.Flatten()(layers.Embedding(4, 5)(lookup(text)))
    output = layers.Dense(3)(layers.Dense(6, "relu", name="hidden")(x))
    modules, y = random_modules(keras.Model(text, output)), np.arange(24) % 3
    found = mk.decompose(modules.model, words[:, None].astype(object), y, verbose=0)
    watch = mk.callbacks.ModularityMonitor(words[:, None], y, objectives=False)
    modules.model.compile("sgd", "sparse_categorical_crossentropy")
    tensor = keras.ops.convert_to_tensor(words[:, None].astype(object))
    history = modules.model.fit(tensor, y, verbose=0, callbacks=[watch]).history
    assert 0 < history["modules/size"][0] <= 1
    tuned = found.tune_threshold(words[:, None], y, max_accuracy_loss=0.1)
    before, after = (mk.metrics.mean_overlap(each) for each in (found.with_threshold(0.0), tuned))
    assert after < before
    assert 0 <= mk.metrics.cohesion(found, words[:, None], y) <= 1
    rows = sweep_subtasks(modules, words[:, None], y, tmp_path / "rows.csv", subtasks=SUBTASKS)
    for row in rows:
        expected = mk.metrics.reuse_accuracy(modules, row["classes"], words[:, None].tolist(), y)
        assert row["accuracy"] == expected


@pytest.mark.parametrize("batch_size", [0, -1, "8", True])
def test_batch_size_that_is_not_a_positive_int(batch_size, modules, data):
    x, y = data
    for call in (
        lambda: mk.metrics.reuse_accuracy(modules, [0, 1], x, y, batch_size=batch_size),
        lambda: mk.metrics.full_accuracy(modules.model, [0, 1], x, y, batch_size=batch_size),
        lambda: MaskedEvaluator(modules, batch_size=batch_size),
        lambda: mk.choose_epsilons(modules.model, x, batch_size=batch_size),
        lambda: mk.replace(
            modules.model, modules[0], 1, strategy="normalize", x=x, batch_size=batch_size
        ),
    ):
        with pytest.raises(ValueError, match=r"`batch_size` to be a positive int. Received"):
            call()


@pytest.mark.parametrize(
    "measure",
    [
        lambda model, x, y: mk.metrics.reuse_accuracy(model, [0], x, y),
        lambda model, x, y: mk.metrics.cohesion(model, x, y),
        lambda model, x, y: mk.metrics.coupling(model),
        lambda model, x, y: mk.metrics.kernel_retention_rate(model),
        lambda model, x, y: shared_units.shared_units(model),
        lambda model, x, y: MaskedEvaluator(model),
        lambda model, x, y: SubtaskMeasurement(model, x, y),
        lambda model, x, y: sweep_subtasks(model, x, y, "unused.csv"),
        lambda model, x, y: verify(model, [(0, 1)], x, y),
        lambda model, x, y: mk.experiments.why_not_staged(model),
    ],
)
def test_model_instead_of_modules_is_refused(measure, modules, data):
    with pytest.raises(ValueError, match=r"Expected `modules` to be a `ModuleSet`.*a model"):
        measure(modules.model, *data)


NOT_A_NUMBER = {
    "reuse_accuracy": lambda modules, x, y: mk.metrics.reuse_accuracy(modules, [0, 1], x, y),
    "full_accuracy": lambda modules, x, y: mk.metrics.full_accuracy(modules.model, [0, 1], x, y),
    "ModelMeasurement": lambda modules, x, y: mk.metrics.ModelMeasurement(modules, [0, 1], x, y),
    "within": lambda modules, x, y: modules.within(
        max_accuracy_loss=0.1, classes=[0, 1], validation_data=(x, y)
    ),
    "size_curve": lambda modules, x, y: mk.tuning.size_curve(modules, [0, 1], x, y, sizes=[0.9]),
}


@pytest.mark.parametrize("name", NOT_A_NUMBER)
@pytest.mark.parametrize("rows", [1, None], ids=["one sample", "all samples"])
def test_outputs_that_are_not_numbers_are_refused(name, rows, modules, data):
    x, y = (np.copy(each) for each in data)
    modules = mk.decompose(modules.model, x, y, criterion="importance", verbose=0)
    x[np.flatnonzero(y < 2)[:rows]] = np.nan
    if keras.backend.backend() == "tensorflow":  # its fused ReLU makes zeros of NaN
        with pytest.warns(UserWarning, match="The samples have NaN, and the outputs"):
            NOT_A_NUMBER[name](modules, x, y)
        return
    with pytest.raises(ValueError, match=r"without NaN\. Received: NaN for"):
        NOT_A_NUMBER[name](modules, x, y)


def test_model_that_replaces_nan_is_measured_with_a_warning(data):
    x, y = (np.copy(each) for each in data)
    inputs = keras.Input(x.shape[1:])
    hidden = layers.Dense(5, activation="relu")(layers.Flatten()(keras.ops.nan_to_num(inputs)))
    model = randomize(keras.Model(inputs, layers.Dense(4)(hidden)))
    modules = random_modules(model)
    clean = mk.metrics.reuse_accuracy(modules, [0, 1], np.where(x > 1, 0, x), y)
    with pytest.warns(UserWarning, match="a layer makes numbers of NaN"):
        found = mk.metrics.reuse_accuracy(modules, [0, 1], np.where(x > 1, np.nan, x), y)
    assert found == clean
