"""Modules that run side by side, each as a model of its own."""

import keras
import numpy as np
import pytest
from small_models import cnn, inputs_of, mlp, random_modules
from test_untouched import snapshot

import moda_keras as mk


def one_by_one(modules, classes, x):
    """The logit of each class, from the masked model of its module alone."""
    columns = []
    for index in classes:
        of_one = {name: np.tile(table[index], (4, 1)) for name, table in modules.units.items()}
        whole = mk.masked_model(mk.ModuleSet.from_units(modules.model, of_one), range(4))
        columns.append(np.asarray(whole.predict_on_batch(x))[:, index])
    return np.stack(columns, axis=1)


def test_outputs_are_the_modules_logits_one_by_one():
    modules = random_modules(cnn())
    x = inputs_of(modules.model, 5)
    expected = one_by_one(modules, [3, 0, 2], x)
    received = mk.side_by_side(modules, [3, 0, 2]).predict_on_batch(x)
    np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-5)
    shared = mk.compose(modules, [3, 0, 2]).predict_on_batch(x)
    assert np.abs(shared - expected).max() > 1e-2


@pytest.mark.parametrize("is_layer", [False, True])
def test_output_activation_of_the_original_follows(is_layer):
    plain = cnn(4) if is_layer else cnn(4, activation="softmax")
    model = plain
    if is_layer:
        model = keras.Model(plain.inputs, keras.layers.Softmax()(plain.outputs[0]))
    modules = random_modules(model)
    x = inputs_of(model, 5)
    logits = mk.side_by_side(modules, [1, 2], logits=True).predict_on_batch(x)
    received = mk.side_by_side(modules, [1, 2]).predict_on_batch(x)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-6)


def test_size_and_cost_are_the_sums_of_the_modules():
    modules = random_modules(cnn())
    parts = [modules[index].to_model(logits=True) for index in (1, 3)]
    both = mk.side_by_side(modules, [1, 3])
    assert both.count_params() == sum(each.count_params() for each in parts)
    flops = sum(mk.metrics.count_flops(each) for each in parts)
    assert mk.metrics.count_flops(both) == flops > 0


def test_list_of_modules_and_single_class():
    modules = random_modules(cnn())
    x = inputs_of(modules.model, 3)
    received = mk.side_by_side([modules[2]]).predict_on_batch(x)
    np.testing.assert_allclose(received, one_by_one(modules, [2], x), rtol=1e-4, atol=1e-5)


def test_models_of_equal_inputs_run_side_by_side():
    first, second = cnn(2), cnn(3, activation="softmax")
    x = inputs_of(first, 4)
    before = snapshot(first), snapshot(second)
    received = mk.side_by_side([first, second, first])
    expected = [np.asarray(each.predict_on_batch(x)) for each in (first, second, first)]
    np.testing.assert_allclose(
        received.predict_on_batch(x), np.concatenate(expected, axis=1), rtol=1e-5, atol=1e-6
    )
    assert (snapshot(first), snapshot(second)) == before
    received.set_weights([weight * 0 for weight in received.get_weights()])
    np.testing.assert_array_equal(first.predict_on_batch(x), expected[0])


def test_model_saves_and_loads(tmp_path):
    modules = random_modules(cnn(activation="softmax"))
    x = inputs_of(modules.model, 3)
    both = mk.side_by_side(modules, [0, 2], name="both")
    both.save(tmp_path / "both.keras")
    loaded = keras.saving.load_model(tmp_path / "both.keras")
    np.testing.assert_array_equal(loaded.predict_on_batch(x), both.predict_on_batch(x))
    assert loaded.name == "both"


def test_what_cannot_run_side_by_side_is_refused():
    modules = random_modules(cnn())
    with pytest.raises(ValueError, match="Unknown class"):
        mk.side_by_side(modules, [9])
    with pytest.raises(ValueError, match="at least one class"):
        mk.side_by_side(modules, [])
    with pytest.raises(ValueError, match="Expected `modules`"):
        mk.side_by_side(cnn(), [0])
    with pytest.raises(ValueError, match="no `classes`"):
        mk.side_by_side([cnn()], [0])
    with pytest.raises(ValueError, match="equal inputs"):
        mk.side_by_side([cnn(), mlp()])
