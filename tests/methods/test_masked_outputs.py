"""Outputs for many masks: those of the masked model, and of loops in float64."""

import keras
import looped_cnn
import numpy as np
import pytest
from small_models import cnn, inputs_of, mlp

import moda_keras as mk
from moda_keras.methods import masked_outputs
from moda_keras.methods.masked_outputs import MaskedOutputs, own_logits
from moda_keras.slicing import Slicer

MASKS = 7


@pytest.fixture(scope="module")
def model():
    return cnn(activation="softmax")


@pytest.fixture(scope="module")
def x(model):
    return inputs_of(model, 11)


def random_masks(model, names):
    random = np.random.default_rng(0)
    units = Slicer(model).units
    return {name: random.random((MASKS, units[name])) < 0.6 for name in names}


@pytest.mark.parametrize("names", [looped_cnn.NAMES, ("conv2",)])
def test_outputs_are_those_of_loops(model, x, names, monkeypatch):
    monkeypatch.setattr(masked_outputs, "ROWS_AT_ONCE", 12)  # three masks at once
    masks = random_masks(model, names)
    found = MaskedOutputs(Slicer(model), names).of(x, masks, 4)
    for number in range(MASKS):
        one = {name: table[number] for name, table in masks.items()}
        _, expected = looped_cnn.run(model, x, one)
        np.testing.assert_allclose(found[number], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("masks_at_once", [0.5, 1, 3])
def test_large_maps_come_with_fewer_masks_at_once(model, x, monkeypatch, masks_at_once):
    largest = max(np.prod(model.get_layer(name).output.shape[1:]) for name in looped_cnn.NAMES)
    masks = random_masks(model, looped_cnn.NAMES)
    outputs = MaskedOutputs(Slicer(model), looped_cnn.NAMES)
    expected = outputs.of(x, masks, 4)
    limit = int(4 * masks_at_once * largest)
    monkeypatch.setattr(masked_outputs, "VALUES_AT_ONCE", limit)
    batches = list(outputs.batches(x, masks, 4))
    numbers = {each.stop - each.start for each, _, _ in batches}
    assert max(numbers) == max(1, int(masks_at_once))
    np.testing.assert_allclose(outputs.of(x, masks, 4), expected, rtol=1e-5, atol=1e-6)


def test_factors_need_not_be_0_or_1(model, x):
    factors = np.linspace(-1, 2, 4 * MASKS).reshape(MASKS, 4)
    found = MaskedOutputs(Slicer(model), ["conv2"]).of(x, {"conv2": factors}, 32)
    for number in range(MASKS):
        _, expected = looped_cnn.run(model, x, {"conv2": factors[number]})
        np.testing.assert_allclose(found[number], expected, rtol=1e-4, atol=1e-5)


def test_any_number_of_masks_and_samples_is_taken(model, x):
    """TensorFlow stops tracing every new shape after a few, and traces unknown ones."""
    outputs = MaskedOutputs(Slicer(model), ["conv2"])
    masks = random_masks(model, ["conv2"])["conv2"]
    whole = outputs.of(x, {"conv2": masks}, 32)
    for number, samples in ((1, 11), (2, 3), (3, 5), (5, 1), (7, 9)):
        found = outputs.of(x[:samples], {"conv2": masks[:number]}, 32)
        np.testing.assert_allclose(found, whole[:number, :samples], rtol=1e-4, atol=1e-5)


def residual(shape=(4, 4, 2)):
    inputs = keras.Input(shape)
    stem = keras.layers.Conv2D(3, 1, activation="relu", name="stem")(inputs)
    y = keras.layers.Conv2D(3, 3, padding="same", activation="relu", name="inner")(stem)
    y = keras.layers.Add()([y, stem])
    y = keras.layers.BatchNormalization()(keras.layers.Concatenate()([y, inputs]))
    y = keras.layers.GlobalAveragePooling2D()(y)
    return keras.Model(inputs, keras.layers.Dense(2, activation="sigmoid")(y))


def test_outputs_are_those_of_the_masked_model_where_branches_meet():
    """The narrow tensors, those before the first mask, are repeated where they meet wide ones."""
    model = residual()
    x = inputs_of(model, 5)
    masks = random_masks(model, ["inner"])
    found = MaskedOutputs(Slicer(model), ["inner"], logits=False).of(x, masks, 4)
    for number in (0, MASKS - 1):
        units = {"inner": np.repeat(masks["inner"][number][None], 2, axis=0)}
        masked = mk.masked_model(mk.ModuleSet.from_units(model, units), [0, 1])
        expected = masked.predict(x, verbose=0)
        np.testing.assert_allclose(found[number], expected, rtol=1e-4, atol=1e-5)


def test_own_logits_are_those_of_each_masks_class(model, x):
    masks = random_masks(model, ["relu1"])
    outputs = MaskedOutputs(Slicer(model), ["relu1"])
    owners = [3, 0, 1, 1, 2, 0, 3]
    found = own_logits(outputs, x, masks, owners, 4)
    everything = outputs.of(x, masks, 4)
    for number, owner in enumerate(owners):
        np.testing.assert_allclose(found[number], everything[number, :, owner], rtol=1e-6)


def test_model_is_left_as_it_was(model, x):
    before, nodes = model.get_weights(), [len(layer._inbound_nodes) for layer in model.layers]
    MaskedOutputs(Slicer(model), ["relu1"]).of(x, random_masks(model, ["relu1"]), 4)
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))
    assert nodes == [len(layer._inbound_nodes) for layer in model.layers]


def test_recurrent_units_are_refused():
    model = keras.Sequential(
        [
            keras.Input((3, 2)),
            keras.layers.SimpleRNN(4, name="memory"),
            keras.layers.Dense(5, activation="relu", name="features"),
            keras.layers.Dense(2),
        ]
    )
    with pytest.raises(ValueError, match=r"do not read each other.*\['memory'\]"):
        MaskedOutputs(Slicer(model), ["memory", "features"])
    MaskedOutputs(Slicer(model), ["features"])


def test_numbers_that_are_not_finite_are_refused():
    model = mlp()
    x = inputs_of(model, 4)
    outputs = MaskedOutputs(Slicer(model), ["second"])
    with pytest.raises(ValueError, match="finite outputs"):
        outputs.of(x, {"second": np.full((1, 5), np.inf)}, 4)
    x[2] = np.nan
    with pytest.raises(ValueError, match="finite inputs"):
        outputs.of(x, {"second": np.ones((1, 5))}, 4)
