"""Models with masks: function, decomposition, saving, and the way back to the plain model."""

import keras
import numpy as np
import pytest
from keras import layers
from masking import randomize
from small_models import cnn, inputs_of, mlp

import moda_keras as mk
from moda_keras.methods import nemo


def residual():
    """BatchNormalization, a residual connection and attention, with the channels last."""
    inputs = keras.Input((6, 4))
    x = layers.Conv1D(8, 3, padding="same", use_bias=False, name="conv")(inputs)
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.ReLU(name="first")(x)
    y = layers.Conv1D(8, 3, padding="same", name="conv2")(x)
    x = layers.Activation("gelu", name="sum")(layers.Add(name="add")([x, y]))
    x = layers.GlobalAveragePooling1D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(3, activation="softmax", name="out")(x))


MODELS = [mlp, cnn, residual]


def weights_of(model):
    return {each.path: np.array(keras.ops.convert_to_numpy(each)) for each in model.weights}


def mask_of(generator, source):
    """The mask by the paper's generator, from the weights of its two dense layers."""
    hidden, tanh = generator
    pooled = source.reshape(len(source), -1, source.shape[-1]).mean(axis=1)
    x = np.maximum(pooled @ np.asarray(keras.ops.convert_to_numpy(hidden.kernel)), 0)
    kernel, bias = map(keras.ops.convert_to_numpy, (tanh.kernel, tanh.bias))
    return np.maximum(np.tanh(x @ kernel + bias), 0)


def outputs_of(model, tensor, x):
    return keras.Model(model.inputs, tensor).predict(x, verbose=0)


def test_masks_multiply_the_hidden_activations():
    plain = cnn()
    model, x = nemo.NeMoModel.from_model(plain), inputs_of(plain, 5)
    values = x
    for step, name in (("conv1", "relu1"), ("conv2", "conv2"), ("fc", "fc")):
        if name == "fc":
            values = values.reshape(len(values), -1)
        generator = [model.get_layer(f"{name}_mask_{role}") for role in ("hidden", "output")]
        mask = mask_of(generator, values)
        shown = next(h for h in model.hidden_activations if h.name == f"{name}_mask")
        np.testing.assert_allclose(outputs_of(model, shown.tensor, x), mask, atol=1e-5)
        layer = plain.get_layer(step)
        values = np.maximum(keras.ops.convert_to_numpy(layer(values)), 0)
        values = values * mask.reshape(len(x), *[1] * (values.ndim - 2), -1)
    logits = keras.ops.convert_to_numpy(plain.get_layer("logits")(values))
    np.testing.assert_allclose(model.predict(x, verbose=0), logits, atol=1e-5)


@pytest.mark.parametrize("build", MODELS)
def test_original_is_not_changed_and_shares_nothing(build):
    plain = build()
    before, config = weights_of(plain), plain.get_config()
    nodes = [len(each._inbound_nodes) for each in plain.layers]
    model = nemo.NeMoModel.from_model(plain)
    assert not {id(w) for w in plain.weights} & {id(w) for w in model.weights}
    for weight in model.weights:
        weight.assign(weight + 1)
    assert all((before[path] == value).all() for path, value in weights_of(plain).items())
    assert plain.get_config() == config
    assert [len(each._inbound_nodes) for each in plain.layers] == nodes


@pytest.mark.parametrize("build", MODELS)
def test_composed_modules_equal_the_masked_model(build):
    model = randomize(nemo.NeMoModel.from_model(build()))
    x = inputs_of(model, 12)
    modules = mk.decompose(model, x, np.arange(12) % 3, threshold=0.6, verbose=0)
    small, masked = mk.compose(modules, [2, 0]), mk.masked_model(modules, [2, 0])
    np.testing.assert_allclose(small.predict(x, verbose=0), masked.predict(x, verbose=0), atol=1e-5)
    masks = mk.find_hidden_activations(small)
    assert sum(h.units for h in masks) < sum(h.units for h in model.hidden_activations)


def test_module_is_the_units_whose_mask_is_on_for_most_samples():
    model = randomize(nemo.NeMoModel.from_model(mlp()))
    x, y = inputs_of(model, 30), np.arange(30) % 3
    modules = mk.decompose(model, x, y, threshold=0.7, verbose=0)
    (first, _) = model.hidden_activations
    mask = outputs_of(model, first.tensor, x)
    expected = np.array([(mask[y == c] > 0).mean(axis=0) >= 0.7 for c in range(3)])
    assert 0 < expected.mean() < 1
    np.testing.assert_array_equal(modules.units["first_mask"], expected)


@pytest.mark.parametrize("build", MODELS)
def test_without_generators_is_the_plain_model_with_the_same_units(build):
    plain = build()
    model = nemo.NeMoModel.from_model(plain)
    x = inputs_of(model, 12)
    modules = mk.decompose(model, x, np.arange(12) % 3, threshold=0.6, verbose=0)
    found = nemo.without_generators(modules)
    np.testing.assert_allclose(
        found.model.predict(x, verbose=0), plain.predict(x, verbose=0), atol=1e-5
    )
    assert found.model.count_params() == plain.count_params()
    assert [h.name for h in found.hidden_activations] == [
        h.name for h in mk.find_hidden_activations(plain)
    ]
    for name, table in found.units.items():
        np.testing.assert_array_equal(table, modules.units[f"{name}_mask"])


def test_only_the_chosen_activations_get_masks():
    model = nemo.NeMoModel.from_model(mlp(), masked=["second"])
    assert [each.name for each in model.hidden_activations] == ["second_mask"]
    x = inputs_of(model, 6)
    modules = mk.decompose(model, x, np.arange(6) % 3, verbose=0)
    assert nemo.without_generators(modules).units["first"].all()


def test_trains_saves_and_loads(tmp_path):
    keras.utils.set_random_seed(0)
    model = nemo.NeMoModel.from_model(residual())
    model.compile(
        keras.optimizers.Adam(0.01),
        keras.losses.SparseCategoricalCrossentropy(),
        modular_loss=nemo.NeMoLoss(0.5),
    )
    y = np.arange(24) % 3
    x = inputs_of(model, 24) + y[:, None, None]
    before = weights_of(model)
    history = model.fit(x, y, epochs=15, batch_size=24, verbose=0).history
    assert history["contrast"][-1] < 0.9 * history["contrast"][0]
    generators = [path for path in before if "generator" in path]
    assert all(
        (before[path] != value).any()
        for path, value in weights_of(model).items()
        if path in generators
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded, nemo.NeMoModel)
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    assert loaded.evaluate(x, y, verbose=0, return_dict=True)["contrast"] == pytest.approx(
        model.evaluate(x, y, verbose=0, return_dict=True)["contrast"]
    )


@pytest.mark.parametrize("masked", ["first", [], ["third"], ["first", "third"]])
def test_unknown_activations_are_named(masked):
    with pytest.raises(ValueError, match=r"Expected `masked`.*'first', 'second'"):
        nemo.NeMoModel.from_model(mlp(), masked=masked)


def test_marked_activations_are_refused():
    inputs = keras.Input((4,))
    x = mk.layers.ModularActivation("relu", name="marked")(layers.Dense(5)(inputs))
    with pytest.raises(ValueError, match=r"without `ModularActivation`.*\['marked'\]"):
        nemo.NeMoModel.from_model(keras.Model(inputs, layers.Dense(3)(x)))


def test_model_without_hidden_activation_is_refused():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3)], name="flat")
    with pytest.raises(ValueError, match=r"hidden activation.*'flat'"):
        nemo.NeMoModel.from_model(model)


def test_modules_of_other_models_are_refused():
    modules = mk.ModuleSet.from_units(mlp(), {})
    with pytest.raises(ValueError, match="Expected modules of a `NeMoModel`"):
        nemo.without_generators(modules)
    with pytest.raises(ValueError, match="Expected `modules` to be a `ModuleSet`"):
        nemo.without_generators(mlp())
