"""Attention: heads as units, in every way a layer can be called."""

import keras
import numpy as np
import pytest
from inlined import Inlined
from keras import layers, ops
from masking import check_slicing, fill_layers, inputs_for, random_units, randomize, run

import moda_keras as mk
from moda_keras import graph
from moda_keras.slicing import Slicer

# JAX compiles for every model anew: a few stand for all.
EVERY = 5 if keras.backend.backend() == "jax" else 1
ATTENTION = {
    "plain": lambda x: layers.MultiHeadAttention(4, 3, name="mha")(x, x),
    "without bias": lambda x: layers.MultiHeadAttention(4, 3, use_bias=False, name="mha")(x, x),
    "dropout": lambda x: layers.MultiHeadAttention(4, 3, dropout=0.2, name="mha")(x, x),
    "wide values": lambda x: layers.MultiHeadAttention(4, 3, value_dim=5, name="mha")(x, x),
    "wide values, mask": lambda x: layers.MultiHeadAttention(4, 3, value_dim=5, name="mha")(
        x, x, attention_mask=below(x)
    ),
    "narrow values, mask": lambda x: layers.MultiHeadAttention(4, 3, value_dim=2, name="mha")(
        x, x, attention_mask=below(x)
    ),
    "other width": lambda x: layers.MultiHeadAttention(4, 3, output_shape=7, name="mha")(x, x),
    "causal": lambda x: layers.MultiHeadAttention(4, 3, name="mha")(x, x, use_causal_mask=True),
    "causal, dropout": lambda x: layers.MultiHeadAttention(4, 3, dropout=0.2, name="mha")(
        x, x, use_causal_mask=True
    ),
    "mask": lambda x: layers.MultiHeadAttention(4, 3, name="mha")(x, x, attention_mask=below(x)),
    "mask array": lambda x: layers.MultiHeadAttention(4, 3, name="mha")(
        x, x, attention_mask=np.tri(6, dtype=bool)[None]
    ),
    "mask, causal": lambda x: layers.MultiHeadAttention(4, 3, name="mha")(
        x, x, attention_mask=below(x), use_causal_mask=True
    ),
    "mask, causal, dropout": lambda x: layers.MultiHeadAttention(4, 3, dropout=0.2, name="mha")(
        x, x, attention_mask=below(x), use_causal_mask=True
    ),
    "three inputs": lambda x: layers.MultiHeadAttention(4, 3, name="mha")(
        x, layers.Dense(4)(x[:, :4]), layers.Dense(7)(x[:, 2:])
    ),
}
WHOLE = {
    "sliding window": lambda x: layers.MultiHeadAttention(4, 3, sliding_window=2, name="mha")(x, x),
    "gate": lambda x: layers.MultiHeadAttention(4, 3, use_gate=True, name="mha")(x, x),
    "grouped queries": lambda x: layers.GroupQueryAttention(3, 4, 2, name="mha")(x, x),
    "scores": lambda x: layers.MultiHeadAttention(4, 3, name="mha")(
        x, x, return_attention_scores=True
    )[0],
    "query mask": lambda x: layers.MultiHeadAttention(4, 3, name="mha")(
        x, x, query_mask=ops.any(x > 0, axis=-1)
    ),
    "over two axes": lambda x: layers.Reshape((6, -1))(
        layers.MultiHeadAttention(4, 3, name="mha")(*[layers.Reshape((2, 3, -1))(x)] * 2)
    ),
    "no heads": lambda x: layers.Attention(name="mha")([x, x]),
    "additive": lambda x: layers.AdditiveAttention(name="mha")([x, x]),
}


def below(x):
    """A mask (B, T, T) that depends on the data, with no empty row."""
    first = x[:, :, 0]
    return ops.expand_dims(first, 1) <= ops.expand_dims(first, 2)


def network(middle, length=6):
    """Attention over features of which some are masked, and then shifted: constants, not zero."""
    inputs = keras.Input((length, 3))
    x = layers.Dense(5, activation="relu", name="features")(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.Dense(5, activation="gelu", name="after")(middle(x))
    x = layers.GlobalAveragePooling1D()(x)
    return randomize(keras.Model(inputs, layers.Dense(4)(x)))


def names(model):
    return [hidden.name for hidden in mk.find_hidden_activations(model)]


@pytest.mark.parametrize("name", list(ATTENTION)[::EVERY])
def test_heads_are_sliced(name):
    model = network(ATTENTION[name])
    assert names(model) == ["features", "mha", "after"]
    sliced = check_slicing(model, random_units(model, 0.5))
    projections = [layer for layer in sliced.layers if isinstance(layer, layers.EinsumDense)]
    assert [layer.kernel.shape[1] for layer in projections[:3]] == [2, 2, 2]
    assert projections[3].kernel.shape[0] == 2
    # A constant cannot always be folded: there may be no bias, or the mask may read it.
    is_plain = name == "mask array" or not ("mask" in name or "without" in name)
    assert bool(fill_layers(sliced)) != is_plain


@pytest.mark.parametrize("name", list(WHOLE)[::EVERY])
def test_calls_that_stay_whole(name):
    model = network(WHOLE[name])
    assert names(model) == ["features", "after"]
    check_slicing(model)


@pytest.mark.parametrize("name", list(ATTENTION)[::EVERY])
def test_inlined_attention_is_the_layer(name):
    if "values" in name and keras.backend.backend() == "jax":
        pytest.skip("jax: Keras's own layer wants values as wide as keys")
    model = network(ATTENTION[name])
    x = inputs_for(model)
    inlined = Inlined(model)
    assert not any(isinstance(op, layers.MultiHeadAttention) for op in inlined.operations)
    assert {id(w) for w in inlined.weights} == {id(w) for w in model.weights}
    np.testing.assert_allclose(run(inlined, x), run(model, x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("value_dim", [2, 3, 5])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_rows_that_see_nothing_are_the_layer_s(value_dim, dropout):
    """Where all is padding, the result depends on how the layer attends."""
    if value_dim != 3 and keras.backend.backend() == "jax":
        pytest.skip("jax: Keras's own layer wants values as wide as keys")
    inputs = keras.Input((6,), dtype="int32")
    x = layers.Embedding(9, 5, mask_zero=True)(inputs)
    attention = layers.MultiHeadAttention(4, 3, value_dim=value_dim, dropout=dropout, name="mha")
    # Not pooling, which leaves the padded rows out, nor Flatten, which warns.
    x = layers.Lambda(lambda t: ops.reshape(t, (-1, 30)), output_shape=(30,))(attention(x, x))
    model = randomize(keras.Model(inputs, layers.Dense(4)(x)))
    tokens = np.random.default_rng(0).integers(0, 3, (20, 6)).astype("int32")
    tokens[0], tokens[1, 2:] = 0, 0
    expected = run(model, [tokens])
    modules = mk.ModuleSet.from_units(model, {"mha": np.ones((4, 4), bool)})
    composed = mk.compose(modules, [0, 1, 2, 3])
    np.testing.assert_allclose(run(composed, [tokens]), expected, rtol=1e-4, atol=1e-5)


def test_lengths_that_are_not_known():
    model = network(ATTENTION["mask"], length=None)
    sliced = Slicer(model)
    units = random_units(model, 0.5)
    plan = sliced.plan(units, np.array([0, 1]))
    assert "mha" not in plan.kept_whole
    x = np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")
    masked = mk.masked_model(mk.ModuleSet.from_units(model, _for_all(units, 4)), [0, 1])
    np.testing.assert_allclose(run(sliced.build(plan), [x]), run(masked, [x]), rtol=1e-4, atol=1e-5)


def _for_all(units, classes):
    return {name: np.repeat(mask[None], classes, axis=0) for name, mask in units.items()}


def test_dropout_acts_in_training_alone():
    inputs = keras.Input((6, 3))
    x = layers.MultiHeadAttention(4, 3, dropout=0.5, name="mha")(inputs, inputs)
    inlined = Inlined(randomize(keras.Model(inputs, layers.Flatten()(x))))
    x = inputs_for(inlined)[0]
    outputs = [ops.convert_to_numpy(inlined(x, training=t)) for t in (False, False, True, True)]
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert np.abs(outputs[2] - outputs[3]).max() > 1e-3


@pytest.mark.parametrize("name", ["plain", "dropout", "mask, causal"][::EVERY])
def test_half_precision(name):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = network(ATTENTION[name])
    finally:
        keras.config.set_dtype_policy("float32")
    x = inputs_for(model)
    inlined = Inlined(model)
    expected, received = (
        ops.convert_to_numpy(ops.cast(m(x[0]), "float32")) for m in (model, inlined)
    )
    np.testing.assert_allclose(received, expected, rtol=0.05, atol=0.05)


def test_sequences_keep_their_known_length():
    inputs = keras.Input((6, 5))
    x = layers.Flatten()(layers.MultiHeadAttention(4, 3)(inputs, inputs))
    x = layers.Dense(7, activation="relu")(x)
    model = randomize(keras.Model(inputs, layers.Dense(4)(x)))
    assert (None, 30) in [t.shape for step in graph.trace(model).steps for t in step.outputs]
    check_slicing(model, random_units(model, 0.5))


def test_keras_masks_keep_attention_whole_in_nested_models_too():
    block_inputs = keras.Input((6, 5))
    block = keras.Model(block_inputs, layers.MultiHeadAttention(2, 3)(block_inputs, block_inputs))
    inputs = keras.Input((6,), dtype="int32")
    x = block(layers.Embedding(9, 5, mask_zero=True)(inputs))
    x = layers.Dense(5, activation="relu", name="after")(layers.Flatten()(x))
    model = randomize(keras.Model(inputs, layers.Dense(4)(x)))
    assert names(model) == ["after"]


def test_attention_of_users_own_operations():
    def middle(x):
        heads = [layers.EinsumDense("abc,cde->abde", (6, 4, 3), bias_axes="de") for _ in "qkv"]
        query, key, value = (project(x) for project in heads)
        x = ops.dot_product_attention(query, key, value)
        return layers.Dense(5)(layers.Reshape((6, 12))(x))

    model = network(middle)
    assert len(names(model)) == 3
    sliced = check_slicing(model, random_units(model, 0.5))
    assert not fill_layers(sliced)


def test_heads_of_users_own_einsums_with_a_mask_of_each_head():
    def middle(x):
        query, key, value = (layers.EinsumDense("abc,cde->abde", (None, 4, 3))(x) for _ in "qkv")
        scores = ops.einsum("aecd,abcd->acbe", key, query)
        mask = np.random.default_rng(0).random((1, 4, 6, 6)) < 0.7
        weights = layers.Softmax(name="weights")(scores, mask=mask)
        x = ops.einsum("acbe,aecd->abcd", weights, value)
        return layers.Dense(5)(layers.Reshape((6, 12))(x))

    model = network(middle)
    assert len(names(model)) == 3
    check_slicing(model)


def test_einsum_dense_of_many_kinds():
    inputs = keras.Input((6, 3))
    x = layers.EinsumDense("abc,cd->abd", (6, 4), bias_axes="bd")(inputs)
    x = layers.EinsumDense("...x,xy->...y", 8, bias_axes="y", activation="relu")(x)
    x = layers.BatchNormalization()(x)
    x = layers.EinsumDense("abc,cd->abd", (None, 7))(x)
    x = layers.EinsumDense("abc,cd->abd", (None, 6), activation="tanh", bias_axes="d")(x)
    x = layers.GlobalAveragePooling1D()(x)
    model = randomize(keras.Model(inputs, layers.EinsumDense("ab,bc->ac", 4, bias_axes="c")(x)))
    assert [h.units for h in mk.find_hidden_activations(model)] == [8, 6]
    check_slicing(model)


@pytest.mark.parametrize(
    ("equation", "output_shape", "bias_axes"),
    [
        ("abc,cd->adb", (7, 6), "d"),
        ("abc,cde->adbe", (4, 6, 2), "de"),
        ("abc,cd->abd", (6, 7), "bd"),
    ],
)
def test_constants_go_into_biases_of_any_shape(equation, output_shape, bias_axes):
    inputs = keras.Input((6, 3))
    x = layers.Dense(5, activation="relu", name="features")(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.EinsumDense(equation, output_shape, bias_axes=bias_axes)(x)
    x = layers.Dense(6, activation="tanh")(layers.Flatten()(x))
    sliced = check_slicing(randomize(keras.Model(inputs, layers.Dense(4)(x))))
    assert not fill_layers(sliced)


# ----------------------------------------------------------------------------------- whole models


def transformer_block(x, name, **attention):
    heads = layers.MultiHeadAttention(4, 3, name=f"{name}_attention", **attention)
    y = layers.LayerNormalization()(x)
    x = layers.Add()([x, heads(y, y)])
    y = layers.LayerNormalization()(x)
    y = layers.Dense(10, activation="gelu", name=f"{name}_mlp")(y)
    return layers.Add()([x, layers.Dense(x.shape[-1])(y)])


def vision_transformer():
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 4, strides=4)(image)
    x = layers.Reshape((4, 8))(x)
    x = transformer_block(transformer_block(x, "first"), "second")
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))
    return randomize(keras.Model(image, layers.Dense(4, activation="softmax")(x)))


def text_classifier(dropout=0.1):
    tokens = keras.Input((6,), dtype="int32", name="tokens")
    padding = keras.Input((6,), dtype="int32", name="padding")
    x = layers.Embedding(12, 8, name="words")(tokens)
    x = layers.Add()([x, layers.Embedding(6, 8, name="places")(ops.cumsum(padding, axis=1) - 1)])
    x = layers.Dropout(dropout)(layers.LayerNormalization()(x))
    mask = ops.expand_dims(padding, 1)
    for name in ("first", "second"):
        attention = layers.MultiHeadAttention(2, 4, dropout=dropout, name=f"{name}_attention")
        x = layers.LayerNormalization()(x + attention(x, x, attention_mask=mask))
        y = layers.Dense(10, activation="gelu", name=f"{name}_mlp")(x)
        x = layers.LayerNormalization()(x + layers.Dropout(dropout)(layers.Dense(8)(y)))
    x = layers.Dense(8, activation="tanh", name="pooler")(x[:, 0])
    return randomize(keras.Model([tokens, padding], layers.Dense(4)(x)))


def text(samples=12, seed=0):
    rng = np.random.default_rng(seed)
    tokens = rng.integers(1, 12, (samples, 6))
    padding = np.arange(6) < rng.integers(2, 7, (samples, 1))
    return [(tokens * padding).astype("int32"), padding.astype("int32")]


def test_vision_transformer():
    model = vision_transformer()
    assert names(model) == ["first_attention", "first_mlp", "second_attention", "second_mlp"]
    sliced = check_slicing(model, random_units(model, 0.5))
    assert sliced.count_params() < 0.75 * model.count_params()


@pytest.mark.parametrize("align", [2, 8][::EVERY])
def test_aligned_vision_transformer(align):
    model = vision_transformer()
    check_slicing(model, random_units(model, 0.4), align=align)


def test_text_classifier():
    model = text_classifier()
    found = ["first_attention", "first_mlp", "second_attention", "second_mlp", "pooler"]
    assert names(model) == found
    units = random_units(model, 0.5)
    modules = mk.ModuleSet.from_units(model, _for_all(units, 4))
    x = text()
    small = mk.compose(modules, [3, 1])
    expected = run(mk.masked_model(modules, [3, 1]), x)
    np.testing.assert_allclose(run(small, x), expected, rtol=1e-4, atol=1e-5)
    assert small.count_params() < 0.75 * model.count_params()
    assert np.ptp(expected, axis=0).max() > 0


def test_modular_training_of_attention_saves_and_loads(tmp_path):
    original = text_classifier()
    model = mk.ModularModel.from_model(original)
    assert len(model.hidden_activations) == 5
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, modular_loss=mk.MODALoss())
    x, y = text(16), np.arange(16) % 4
    before = run(original, x)
    model.fit(x, y, epochs=1, batch_size=8, verbose=0)
    after = run(original, x)
    assert np.abs(after - before).max() > 1e-3, "the weights are shared"
    np.testing.assert_allclose(run(model, x), after, rtol=1e-5, atol=1e-6)

    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert names(loaded) == names(model)
    np.testing.assert_allclose(run(loaded, x), after, rtol=1e-5, atol=1e-6)

    modules = mk.decompose(loaded, x, y, verbose=0)
    assert modules.units["first_attention"].shape == (4, 2)
    small = mk.compose(modules, [2, 0])
    small.save(tmp_path / "small.keras")
    expected = run(mk.masked_model(modules, [2, 0]), x)
    np.testing.assert_allclose(
        run(keras.saving.load_model(tmp_path / "small.keras"), x), expected, rtol=1e-4, atol=1e-5
    )
