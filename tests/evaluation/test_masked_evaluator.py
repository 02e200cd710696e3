import itertools

import keras
import numpy as np
import pytest
from keras import layers
from labelled_data import labelled_inputs, residual
from masking import randomize
from small_models import cnn, mlp, random_modules

import moda_keras as mk
from moda_keras.experiments import (
    MaskedEvaluator,
    subtasks_of,
    verify,
    why_not_staged,
)


@keras.saving.register_keras_serializable(package="tests")
class TwoActivations(layers.Layer):
    """A composite layer, with a layer and an operation as hidden activations."""

    def __init__(self, **options):
        super().__init__(**options)
        self.first = layers.Dense(6, activation="relu", name="first")
        self.second = layers.Dense(5, name="second")

    def build(self, shape):
        self.first.build(shape)
        self.second.build((*shape[:-1], 6))

    def call(self, x):
        return keras.ops.relu(self.second(self.first(x)))


def composite():
    """Two such layers, and one whose name is that of the path of a layer inside."""
    inputs = keras.Input((6,))
    x = TwoActivations(name="block")(inputs)
    x = layers.Dense(7, activation="relu", name="block_first")(x)
    x = TwoActivations(name="other")(x)
    return randomize(keras.Model(inputs, layers.Dense(4)(x)))


MODELS = {"cnn": cnn, "residual": residual, "mlp": mlp, "composite": composite}


def predictions_by_masked_model(modules, subtask, x):
    """The meaning of a sub-task, spelled out: the original at full size, units set to zero."""
    return mk.masked_model(modules, list(subtask)).predict(x, verbose=0)


@pytest.mark.parametrize("name", MODELS)
def test_accuracy_is_that_of_the_masked_models(name):
    modules = random_modules(MODELS[name](), fraction=0.5)
    x, y = labelled_inputs(modules.model)
    subtasks = subtasks_of(modules.num_classes)
    found = MaskedEvaluator(modules, batch_size=16).accuracy(subtasks, x, y)
    for subtask, accuracy in zip(subtasks, found, strict=True):
        rows = np.isin(y, subtask)
        scores = predictions_by_masked_model(modules, subtask, x[rows])
        expected = np.mean(np.array(subtask)[scores.argmax(axis=-1)] == y[rows])
        assert accuracy == pytest.approx(expected, abs=1e-9), subtask


def test_logits_are_those_of_the_composed_models(modules, data):
    found = verify(modules, subtasks_of(4), *data)
    assert len(found) == 11
    for each in found:
        assert each.accuracy == each.composed_accuracy
        assert each.scale > 0.1
        assert each.largest_difference < 1e-5 * max(each.scale, 1)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_batches_do_not_change_the_result(modules, data, batch_size):
    subtasks = subtasks_of(4)
    expected = MaskedEvaluator(modules, batch_size=13).accuracy(subtasks, *data)
    found = MaskedEvaluator(modules, batch_size=batch_size).accuracy(subtasks, *data)
    assert found.tolist() == expected.tolist()


def test_units_of_no_module_are_sliced_away(data):
    modules = random_modules(cnn(), fraction=0.6)
    units = {name: table.copy() for name, table in modules.units.items()}
    units["fc"][:, :3] = False
    modules = mk.ModuleSet.from_units(modules.model, units)
    evaluator = MaskedEvaluator(modules)
    assert set(evaluator.model.kept["fc"]) <= set(range(3, 7))
    accuracy = evaluator.accuracy([(0, 1, 3)], *data)
    assert accuracy == mk.metrics.reuse_accuracy(modules, (0, 1, 3), *data)


def test_shared_computation_is_done_once(modules, data):
    """Equal modules: as many rows go through every stage as there are samples."""
    units = {name: np.repeat(table[:1], 4, axis=0) for name, table in modules.units.items()}
    evaluator = MaskedEvaluator(mk.ModuleSet.from_units(modules.model, units), batch_size=8)
    calls = []
    for number, stage in enumerate(evaluator.model.stages):
        stage.predict_on_batch = _counted(stage.predict_on_batch, number, calls)
    evaluator.accuracy(subtasks_of(4), *data)
    assert calls == sorted(calls) or len(calls) == len(data[1]) // 8 * 4
    assert len(calls) == len(data[1]) // 8 * len(evaluator.model.stages)


def _counted(function, number, calls):
    def call(inputs):
        calls.append(number)
        return function(inputs)

    return call


def test_sample_enters_only_subtasks_of_its_class(modules, data):
    x, y = data
    x = x.copy()
    x[y == 3] = np.nan  # would make logits NaN, which is an error
    assert len(MaskedEvaluator(modules).accuracy([(0, 1), (1, 2)], x, y)) == 2
    with pytest.raises(ValueError, match="finite"):
        MaskedEvaluator(modules).accuracy([(0, 3)], x, y)


def test_class_without_training_samples_has_no_subtask():
    model = mlp()
    counts = {h.name: np.full((3, h.units), 2) for h in mk.find_hidden_activations(model)}
    modules = mk.ModuleSet.from_counts(model, counts, np.array([2, 0, 2]))
    x, y = labelled_inputs(model)
    evaluator = MaskedEvaluator(modules)
    assert evaluator.accuracy([(0, 2)], x, y) == mk.metrics.reuse_accuracy(modules, (0, 2), x, y)
    with pytest.raises(ValueError, match="had training samples"):
        evaluator.accuracy([(0, 1)], x, y)


def test_subtask_without_samples_is_an_error(modules, data):
    x, y = data
    rows = y < 2
    with pytest.raises(ValueError, match=r"none of the classes \[2, 3\]"):
        MaskedEvaluator(modules).accuracy([(0, 1), (2, 3)], x[rows], y[rows])


def test_label_out_of_range_is_an_error(modules, data):
    x, y = data
    with pytest.raises(ValueError, match="labels from 0 to 3"):
        MaskedEvaluator(modules).accuracy([(0, 1)], x, y + 1)


def test_recurrent_model_cannot_be_cut_and_says_what_to_do():
    inputs = keras.Input((5, 3))
    x = layers.SimpleRNN(4, name="rnn")(inputs)
    modules = random_modules(randomize(keras.Model(inputs, layers.Dense(3)(x))))
    assert "rnn" in why_not_staged(modules)
    with pytest.raises(ValueError, match="reuse_accuracy"):
        MaskedEvaluator(modules)


def test_original_keeps_its_weights_and_graph(modules, data):
    before = [keras.ops.convert_to_numpy(w) for w in modules.model.weights]
    names = [h.name for h in mk.find_hidden_activations(modules.model)]
    MaskedEvaluator(modules).accuracy(list(itertools.combinations(range(4), 2)), *data)
    after = [keras.ops.convert_to_numpy(w) for w in modules.model.weights]
    assert all((a == b).all() for a, b in zip(before, after, strict=True))
    assert [h.name for h in mk.find_hidden_activations(modules.model)] == names
