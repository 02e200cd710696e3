"""Quantized layers and layers with LoRA are cut, and equal the masked model."""

import keras
import numpy as np
import pytest
from keras import layers
from masking import inputs_for, module_set, random_units, randomize, run

import moda_keras as mk
from moda_keras.slicing import Slicer

CHANGES = {
    "int8": lambda layer: layer.quantize("int8"),
    "int4": lambda layer: layer.quantize("int4"),
    "int4 for each channel": lambda layer: layer.quantize(config=of_blocks(None)),
    "int4 in blocks": lambda layer: layer.quantize(config=of_blocks(3)),
    "lora": lambda layer: with_lora(layer),
    "int8 and lora": lambda layer: (layer.quantize("int8"), with_lora(layer)),
    "int4 and lora": lambda layer: (layer.quantize("int4"), with_lora(layer)),
}


def of_blocks(size):
    return keras.quantizers.Int4QuantizationConfig(block_size=size)


def with_lora(layer):
    layer.enable_lora(2, lora_alpha=3)
    random = np.random.default_rng(5)
    for weight in layer.weights:
        if weight.name.startswith("lora"):
            weight.assign(random.normal(0, 0.5, weight.shape).astype("float32"))


def dense_model(use_bias=True, between=()):
    """`changed` reads masked units, `last` reads those of `changed`."""
    inputs = keras.Input((6,))
    x = layers.Dense(11, activation="relu", name="features")(inputs)
    for layer in between:
        x = layer(x)
    x = layers.Dense(9, activation="relu", use_bias=use_bias, name="changed")(x)
    return randomize(keras.Model(inputs, layers.Dense(5, name="last")(x)))


def einsum_model():
    inputs = keras.Input((4, 6))
    x = layers.Dense(8, activation="relu", name="features")(inputs)
    x = layers.EinsumDense(
        "abc,cd->abd", output_shape=(None, 9), bias_axes="d", activation="relu", name="changed"
    )(x)
    x = layers.GlobalAveragePooling1D()(x)
    return randomize(keras.Model(inputs, layers.Dense(5, name="last")(x)))


def convolutional_model():
    inputs = keras.Input((5, 5, 3))
    x = layers.Conv2D(7, 3, activation="relu", name="features")(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.Conv2D(6, 2, activation="relu", name="changed")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return randomize(keras.Model(inputs, layers.Dense(5, name="last")(x)))


def embedding_model():
    inputs = keras.Input((7,), dtype="int32")
    x = layers.Embedding(10, 8, name="changed")(inputs)
    x = layers.Activation("relu", name="features")(x)
    x = layers.GlobalAveragePooling1D()(x)
    return randomize(keras.Model(inputs, layers.Dense(5, name="last")(x)))


def check(model, changed="changed", x=None, atol=1e-5):
    """Composed = masked; the changed layer is cut; saved and loaded, it stays so."""
    modules = module_set(model, random_units(model))
    assert modules.slicer.whole_changed_layers == []
    x = inputs_for(model) if x is None else x
    small, masked = mk.compose(modules, [3, 0, 2]), mk.masked_model(modules, [3, 0, 2])
    expected = run(masked, x)
    assert np.abs(expected - run(model, x)[:, [3, 0, 2]]).max() > 1e-2  # masks matter
    np.testing.assert_allclose(run(small, x), expected, atol=atol * np.abs(expected).max())
    old, new = model.get_layer(changed), small.get_layer(changed)
    assert new.quantization_mode == old.quantization_mode
    assert getattr(new, "lora_enabled", False) == getattr(old, "lora_enabled", False)
    assert sum(w.size if hasattr(w, "size") else np.prod(w.shape) for w in new.weights) < sum(
        np.prod(w.shape) for w in old.weights
    )
    return small


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("use_bias", [True, False])
def test_dense(change, use_bias):
    model = dense_model(use_bias)
    CHANGES[change](model.get_layer("changed"))
    small = check(model)
    old, new = (m.get_layer("changed") for m in (model, small))
    assert new.units < old.units
    in_blocks = change == "int4 in blocks"
    assert (new.input_spec.axes[-1] < old.input_spec.axes[-1]) != in_blocks


@pytest.mark.parametrize("change", CHANGES)
def test_dense_behind_constants(change):
    """What a masked unit becomes behind a normalization is a constant, and not zero."""
    model = dense_model(between=[layers.BatchNormalization(name="shift")])
    CHANGES[change](model.get_layer("changed"))
    check(model)


def test_blocks_of_inputs_that_all_go_are_left_out():
    model = dense_model()
    model.get_layer("changed").quantize(config=of_blocks(4))
    units = {"features": np.isin(np.arange(11), [0, 1, 2, 3, 8]), "changed": np.arange(9) < 5}
    modules = module_set(model, units)
    small, masked = mk.compose(modules, [3, 0]), mk.masked_model(modules, [3, 0])
    assert small.get_layer("changed").input_spec.axes[-1] == 5
    x = inputs_for(model)
    np.testing.assert_allclose(run(small, x), run(masked, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("change", ["int8", "lora", "int8 and lora"])
@pytest.mark.parametrize("make", [einsum_model, embedding_model])
def test_projections_and_embeddings(make, change):
    model = make()
    CHANGES[change](model.get_layer("changed"))
    x = [np.random.default_rng(0).integers(0, 10, (3, 7))] if make is embedding_model else None
    check(model, x=x)


def test_convolution_with_lora():
    model = convolutional_model()
    with_lora(model.get_layer("changed"))
    check(model)


@pytest.mark.parametrize("change", ["int8", "lora"])
def test_attention(change):
    inputs = keras.Input((4, 6))
    x = layers.Dense(8, activation="relu", name="features")(inputs)
    attention = layers.MultiHeadAttention(4, 3, name="attention")
    x = layers.GlobalAveragePooling1D()(attention(x, x))
    model = randomize(keras.Model(inputs, layers.Dense(5, name="last")(x)))
    parts = ("query", "key", "value", "output")
    for part in parts:
        CHANGES[change](getattr(attention, f"_{part}_dense"))
    modules = module_set(model, random_units(model, 0.5))
    small, masked = mk.compose(modules, [3, 0, 2]), mk.masked_model(modules, [3, 0, 2])
    x = inputs_for(model)
    expected = run(masked, x)
    np.testing.assert_allclose(run(small, x), expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("change", ["lora", "int8", "int4 in blocks"])
def test_widths_in_multiples(change):
    """Units that are there for the width alone have no effect."""
    model = dense_model()
    CHANGES[change](model.get_layer("changed"))
    modules = module_set(model, random_units(model, 0.5))
    small, masked = mk.compose(modules, [3, 0], align=4), mk.masked_model(modules, [3, 0])
    assert small.get_layer("features").units % 4 == 0
    x = inputs_for(model)
    expected = run(masked, x)
    np.testing.assert_allclose(run(small, x), expected, atol=1e-5 * np.abs(expected).max())


def test_lora_is_trained_on_in_a_composed_model():
    model = dense_model()
    with_lora(model.get_layer("changed"))
    small = check(model)
    small.compile("sgd", "mse")
    layer = small.get_layer("changed")
    before, kernel = (
        np.copy(keras.ops.convert_to_numpy(w)) for w in (layer.lora_kernel_b, layer._kernel)
    )
    small.fit(inputs_for(model)[0], np.ones((3, 3)), verbose=0)
    assert np.abs(keras.ops.convert_to_numpy(layer.lora_kernel_b) - before).max() > 0
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(layer._kernel), kernel)


@pytest.mark.parametrize("change", ["int8", "int4"])
def test_quantized_composed_models_are_saved_and_loaded(change, tmp_path):
    model = dense_model()
    CHANGES[change](model.get_layer("changed"))
    small = mk.compose(module_set(model, random_units(model)), [3, 0, 2])
    small.save(tmp_path / "small.keras")
    x = inputs_for(model)
    loaded = keras.models.load_model(tmp_path / "small.keras")
    np.testing.assert_allclose(run(loaded, x), run(small, x), rtol=1e-6)


def test_layers_that_no_rule_knows_are_named():
    inputs = keras.Input((7,), dtype="int32")
    x = layers.GlobalAveragePooling1D()(layers.Embedding(10, 8, name="changed")(inputs))
    x = layers.Dense(4, activation="relu")(x)
    model = randomize(keras.Model(inputs, layers.Dense(5)(x)))
    model.get_layer("changed").quantize("int4")
    assert Slicer(model).whole_changed_layers == ["changed"]
    (part,) = [part for part in mk.explain(model).parts if part.name == "changed"]
    assert "quantized" in part.why_whole
