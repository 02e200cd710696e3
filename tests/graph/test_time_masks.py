"""Models that Keras sends masks of time steps through: Embedding(mask_zero=True), Masking."""

import keras
import numpy as np
import pytest
from inlined import Inlined
from keras import layers
from masking import module_set, random_units, randomize, run
from small_models import BACKEND

import moda_keras as mk
from moda_keras import graph
from moda_keras.layers import TimeMask

WORDS = np.array(
    [[1, 2, 3, 4, 5, 6], [3, 1, 0, 0, 0, 0], [5, 0, 0, 0, 0, 0], [2, 2, 7, 8, 0, 0]], "int32"
)


def embed(**options):
    inputs = keras.Input((6,), dtype="int32")
    return inputs, layers.Embedding(9, 8, mask_zero=True, **options)(inputs)


def directions(mode="concat", kind=layers.LSTM, **options):
    return layers.Bidirectional(kind(5, **options), merge_mode=mode)


def attention(x, heads=2, **options):
    layer = layers.MultiHeadAttention(heads, 3, **options)
    return layer(x, x)


def stacked(x):
    x = directions(return_sequences=True)(x)
    return directions("sum", layers.GRU)(x)


def unmerged(x):
    return layers.Subtract()(directions(None, layers.GRU)(x))


def unmerged_sequences(x):
    x = layers.Concatenate()(directions(None, layers.GRU, return_sequences=True)(x))
    return layers.GlobalAveragePooling1D()(x)


def attention_before_a_norm(x):
    for _ in range(2):
        y = layers.LayerNormalization()(x)
        x = layers.Add()([x, attention(y)])
        y = layers.Dense(8, activation="gelu")(layers.LayerNormalization()(x))
        x = layers.Add()([x, layers.Dense(8)(y)])
    return layers.GlobalAveragePooling1D()(x)


def norm_behind(x):
    """The first attention takes the mask off `x`, and the second one gets none."""
    for _ in range(2):
        x = layers.LayerNormalization()(layers.Add()([x, attention(x)]))
    return layers.Flatten()(x)


def the_same_sequence_twice(x):
    return layers.Flatten()(attention(x) + attention(x))


def causal(x):
    y = layers.MultiHeadAttention(2, 3)(x, x, use_causal_mask=True)
    return layers.Flatten()(y)


def with_a_mask_of_ones_own(x):
    mask = np.tri(6, dtype=bool)[::-1].copy()
    return layers.Flatten()(layers.MultiHeadAttention(2, 3)(x, x, attention_mask=mask))


def with_other_keys(x):
    y = layers.Dense(8, activation="tanh")(x)
    z = layers.MultiHeadAttention(2, 3)(layers.Conv1D(8, 1)(x), y, key=layers.Dense(8)(x))
    return layers.Flatten()(z)


def dropout_on_weights(x):
    return layers.GlobalAveragePooling1D()(attention(x, dropout=0.3))


def read_after_a_dropout(x):
    y = layers.Dropout(0.3)(x)
    return layers.Flatten()(attention(y) + attention(x))


SEEN = [
    directions(), directions("ave", layers.GRU), stacked, unmerged, unmerged_sequences,
    attention_before_a_norm, norm_behind, the_same_sequence_twice, causal, with_a_mask_of_ones_own,
    with_other_keys, dropout_on_weights, read_after_a_dropout,
]  # fmt: skip


def model_of(middle):
    inputs, x = embed()
    return randomize(keras.Model(inputs, layers.Dense(4)(middle(x))))


def kinds(model):
    return [type(step.operation) for step in graph.trace(model).steps]


def check(model, x, fraction=0.6):
    """The graph gives what the model gives, and the sliced model what the masked one gives."""
    expected = run(model, [x])
    np.testing.assert_allclose(run(Inlined(model), [x]), expected, rtol=1e-4, atol=1e-5)
    modules = module_set(model, random_units(model, fraction))
    masked = run(mk.masked_model(modules, [2, 0]), [x])
    small = mk.compose(modules, [2, 0])
    np.testing.assert_allclose(run(small, [x]), masked, rtol=1e-4, atol=1e-5)
    every = module_set(model, random_units(model, 1.0))
    whole = run(mk.compose(every, [0, 1, 2, 3]), [x])
    np.testing.assert_allclose(whole, expected, rtol=1e-4, atol=1e-5)
    assert small.count_params() < model.count_params()
    return small


@pytest.mark.parametrize("middle", SEEN[:: 1 if BACKEND == "torch" else 4])
def test_masked_sequences_are_seen_through_exactly(middle):
    model = model_of(middle)
    check(model, WORDS)
    if middle is not read_after_a_dropout:
        whole = {layers.Bidirectional, layers.MultiHeadAttention}
        assert whole.isdisjoint(kinds(model))


def test_padding_does_not_count():
    model = model_of(stacked)
    small = check(model, WORDS)
    longer = keras.Sequential([keras.Input((6,), dtype="int32"), small])
    other = WORDS.copy()
    other[0, 3:] = 0
    assert not np.allclose(run(longer, [other])[0], run(longer, [WORDS])[0])
    np.testing.assert_allclose(run(longer, [other])[1:], run(longer, [WORDS])[1:], rtol=1e-5)


def test_masking_layer():
    inputs = keras.Input((6, 3))
    x = layers.Masking(0.0)(layers.Dense(8, activation="relu", name="features")(inputs))
    x = directions(return_sequences=True)(x)
    x = layers.GlobalAveragePooling1D()(attention(x))
    model = randomize(keras.Model(inputs, layers.Dense(4)(x)))
    layer = model.get_layer("features")
    layer.bias.assign(-0.1 * np.ones(8))
    values = np.random.default_rng(0).normal(size=(4, 6, 3)).astype("float32")
    values[1:, 3:] = 0
    check(model, values)


def test_composed_model_is_saved_and_loaded(tmp_path):
    model = model_of(attention_before_a_norm)
    small = mk.compose(module_set(model, random_units(model, 0.5)), [1, 3])
    assert any(isinstance(layer, TimeMask) for layer in small.layers)
    small.save(tmp_path / "small.keras")
    loaded = keras.saving.load_model(tmp_path / "small.keras")
    np.testing.assert_allclose(run(loaded, [WORDS]), run(small, [WORDS]), rtol=1e-5, atol=1e-6)


def test_attention_that_may_meet_other_masks_stays_whole():
    """Whether the second one gets a mask depends on the mode: in training, dropout copies."""
    model = model_of(read_after_a_dropout)
    assert kinds(model).count(layers.MultiHeadAttention) == 2


def test_scores_keep_all_attention_whole():
    def middle(x):
        x = layers.Add()([x, attention(x)])
        x, _ = layers.MultiHeadAttention(2, 3)(x, x, return_attention_scores=True)
        return layers.Dense(8, activation="relu")(layers.Flatten()(x))

    model = model_of(middle)
    assert kinds(model).count(layers.MultiHeadAttention) == 2
    check(model, WORDS)


def test_users_model_is_not_touched():
    model = model_of(attention_before_a_norm)
    before = [len(each._inbound_nodes) for each in model.operations]
    names = [each.name for each in model.operations]
    graph.trace(model)
    assert [len(each._inbound_nodes) for each in model.operations] == before
    assert [each.name for each in model.operations] == names


@pytest.mark.parametrize("go_backwards", [False, True])
def test_masks_of_the_graph(go_backwards):
    inputs, x = embed()
    x = layers.LSTM(5, return_sequences=True, go_backwards=go_backwards)(x)
    x = layers.Dense(4, activation="relu", name="each")(x)
    model = keras.Model(inputs, layers.Dense(4)(layers.GlobalMaxPooling1D()(x)))
    traced = graph.trace(model)
    values = traced.run([keras.ops.convert_to_tensor(WORDS)])
    (_, states), (_, each) = graph.hidden_activations_of(traced)
    found = traced.run_masks(values, [states, each])
    expected = WORDS[:, ::-1] != 0 if go_backwards else WORDS != 0
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(found[states]), expected)
    # What Keras sends along: it does not turn the mask around.
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(found[each]), WORDS != 0)
