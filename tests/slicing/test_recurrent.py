"""Recurrent layers: a masked unit is zero for all others at every step in time."""

import keras
import numpy as np
import pytest
from inlined import Inlined
from keras import layers, ops
from masking import check_slicing, inputs_for, module_set, random_units, randomize, run

import moda_keras as mk
from moda_keras.slicing import Slicer

# JAX compiles for every model anew: a few stand for all.
ON_JAX = keras.backend.backend() == "jax"
KINDS = {"rnn": layers.SimpleRNN, "gru": layers.GRU, "lstm": layers.LSTM}
SLICED = {
    "simple": lambda x: layers.SimpleRNN(8, name="state")(x),
    "simple, relu": lambda x: layers.SimpleRNN(8, activation="relu", name="state")(x),
    "simple, unrolled": lambda x: layers.SimpleRNN(8, unroll=True, name="state")(x),
    "gru": lambda x: layers.GRU(8, name="state")(x),
    "gru, reset before": lambda x: layers.GRU(8, reset_after=False, name="state")(x),
    "gru, no bias": lambda x: layers.GRU(8, use_bias=False, name="state")(x),
    "gru, backwards": lambda x: layers.GRU(8, go_backwards=True, name="state")(x),
    "lstm": lambda x: layers.LSTM(8, name="state")(x),
    "lstm, no bias": lambda x: layers.LSTM(8, use_bias=False, name="state")(x),
    "lstm, dropout": lambda x: layers.LSTM(8, dropout=0.2, recurrent_dropout=0.3, name="state")(x),
    "lstm, unrolled": lambda x: layers.LSTM(8, unroll=True, name="state")(x),
    "lstm, masked times": lambda x: layers.LSTM(8, name="state")(layers.Masking(0.3)(x)),
    "sequences": lambda x: mean(layers.LSTM(8, return_sequences=True, name="state")(x)),
    "sequences, backwards": lambda x: mean(
        layers.GRU(8, return_sequences=True, go_backwards=True, name="state")(x)
    ),
    "output of three": lambda x: layers.LSTM(8, return_state=True, name="state")(x)[0],
    "states": lambda x: ops.concatenate(
        layers.LSTM(8, return_state=True, name="state")(x)[1:], axis=-1
    ),
    "output and state": lambda x: layers.Multiply()(
        layers.GRU(8, return_state=True, name="state")(x)
    ),
}


def mean(x):
    return layers.GlobalAveragePooling1D()(x)


def network(middle, length=5):
    """A recurrent layer behind features of which some are masked and then shifted: constants."""
    inputs = keras.Input((length, 3))
    x = layers.Dense(5, activation="relu", name="features")(inputs)
    x = middle(layers.BatchNormalization()(x))
    x = layers.BatchNormalization()(x)
    return randomize(keras.Model(inputs, layers.Dense(4)(layers.Dense(6, activation="elu")(x))))


def names(model):
    return [hidden.name for hidden in mk.find_hidden_activations(model)]


@pytest.mark.parametrize("name", list(SLICED)[:: 4 if ON_JAX else 1])
def test_units_of_the_state_are_sliced(name):
    model = network(SLICED[name])
    assert names(model)[:2] == ["features", "state"]
    sliced = check_slicing(model, random_units(model, 0.5))
    assert sliced.get_layer("state").units == 4


@pytest.mark.parametrize("kind", KINDS)
def test_masked_units_are_zero_for_all_others_at_every_time(kind):
    """The oracle: a layer that masks its state between the steps."""
    model = network(lambda x: KINDS[kind](8, name="state")(x))
    units = {"state": np.arange(8) % 2 == 0}
    x = inputs_for(model)
    features = keras.Model(model.inputs, model.get_layer("state").input)(x[0])
    cell, mask = model.get_layer("state").cell, ops.cast(units["state"], "float32")
    state = [ops.zeros((3, 8)) for _ in range(2 if kind == "lstm" else 1)]
    for time in range(5):
        output, state = cell(features[:, time], [state[0] * mask, *state[1:]])
    expected = ops.convert_to_numpy(output * mask)

    masked = mk.masked_model(module_set(model, units), [0, 1])
    received = run(keras.Model(masked.inputs, masked.get_layer("state_mask").output), x)
    np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_units_that_no_layer_reads_are_read_by_the_others(kind):
    def middle(x):
        x = KINDS[kind](8, name="state")(x)
        return layers.Activation("relu", name="after")(x)

    model = network(middle)
    units = {"after": np.arange(8) < 2, "state": np.arange(8) < 6}
    sliced = check_slicing(model, units)
    assert sliced.get_layer("state").units == 6


@pytest.mark.parametrize("kind", ["gru"] if ON_JAX else KINDS)
def test_all_units_masked(kind):
    model = network(lambda x: KINDS[kind](8, name="state")(x))
    check_slicing(model, {"state": np.zeros(8, bool), "features": np.arange(5) < 3}, fraction=0)


@pytest.mark.parametrize("align", [4] if ON_JAX else [4, 8])
def test_aligned_features_before_a_recurrent_layer(align):
    model = network(lambda x: layers.LSTM(8, name="state")(x))
    units = random_units(model, 0.4)
    slicer = Slicer(model)
    expected = run(mk.masked_model(module_set(model, units), [0, 1]), inputs_for(model))
    aligned = slicer.build(slicer.plan(units, np.array([0, 1]), align=align))
    np.testing.assert_allclose(run(aligned, inputs_for(model)), expected, rtol=1e-4, atol=1e-5)


# -------------------------------------------------------------------------------- what stays whole


def test_initial_state_and_shared_layers_stay_whole_and_mask_their_output_alone():
    inputs = keras.Input((5, 3))
    state = layers.Dense(8, activation="relu", name="start")(layers.Flatten()(inputs))
    x = layers.GRU(8, name="given", return_sequences=True)(inputs, initial_state=state)
    twice = layers.SimpleRNN(8, return_sequences=True, name="twice")
    x = layers.LSTM(6, name="own")(twice(twice(x)))
    model = randomize(keras.Model(inputs, layers.Dense(4)(x)))
    assert names(model) == ["start", "given", "twice", "twice_1", "own"]
    sliced = check_slicing(model, random_units(model, 0.5))
    units = [sliced.get_layer(name).units for name in ("start", "given", "twice", "own")]
    assert units == [4, 8, 8, 3]


def test_cells_stay_whole():
    def middle(x):
        x = layers.RNN([layers.GRUCell(6), layers.LSTMCell(5)], return_sequences=True)(x)
        return layers.RNN(layers.SimpleRNNCell(4), name="cell")(x)

    model = network(middle)
    assert "cell" not in names(model)
    check_slicing(model)


def test_convolutional_recurrent_layer_stays_whole():
    inputs = keras.Input((3, 5, 5, 2))
    x = layers.ConvLSTM2D(4, 3, name="maps")(inputs)
    x = layers.Dense(6, activation="relu")(layers.Flatten()(x))
    model = randomize(keras.Model(inputs, layers.Dense(4)(x)))
    check_slicing(model, random_units(model, 0.5))


# -------------------------------------------------------------------------------- both directions

MODES = ["concat", "sum", "ave", "mul"][: 2 if ON_JAX else 4]


def bidirectional(kind, mode, **options):
    layer = KINDS[kind](6, name="unit", **options)
    return layers.Bidirectional(layer, merge_mode=mode, name="both")


@pytest.mark.parametrize("sequences", [True] if ON_JAX else [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_both_directions(mode, sequences):
    def middle(x):
        x = bidirectional("lstm", mode, return_sequences=sequences)(x)
        return mean(x) if sequences else x

    model = network(middle)
    assert names(model)[1:3] == ["forward_unit", "backward_unit"]
    sliced = check_slicing(model, random_units(model, 0.5))
    directions = [layer for layer in sliced.layers if isinstance(layer, layers.LSTM)]
    assert [layer.units for layer in directions] == [3, 3]


@pytest.mark.parametrize("kind", KINDS)
def test_inlined_directions_are_the_layer(kind):
    model = network(lambda x: mean(bidirectional(kind, "concat", return_sequences=True)(x)))
    inlined = Inlined(model)
    assert {id(w) for w in inlined.weights} == {id(w) for w in model.weights}
    x = inputs_for(model)
    np.testing.assert_allclose(run(inlined, x), run(model, x), rtol=1e-5, atol=1e-6)


def test_directions_that_are_not_merged():
    model = network(lambda x: layers.Subtract()(bidirectional("gru", None)(x)))
    assert names(model)[1:3] == ["forward_unit", "backward_unit"]
    check_slicing(model, random_units(model, 0.5))


def test_directions_with_states_stay_whole():
    def middle(x):
        x, *states = bidirectional("gru", "concat", return_sequences=True, return_state=True)(x)
        return layers.Concatenate()([layers.GlobalMaxPooling1D()(x), *states])

    model = network(middle)
    assert len(names(model)) == 2
    check_slicing(model)


# ------------------------------------------------------------------------------ channels as time

PERMUTED = {
    **{name: kind(8, name="state") for name, kind in KINDS.items()},
    "both": layers.Bidirectional(layers.LSTM(8), name="state"),
    "sequences": layers.LSTM(8, return_sequences=True, name="state"),
    "dense": layers.TimeDistributed(layers.Dense(8, activation="relu"), name="state"),
}


@pytest.mark.parametrize("length", [4, 5, 7])
@pytest.mark.parametrize("name", ["lstm"] if ON_JAX else list(PERMUTED))
def test_channels_that_became_steps_in_time(name, length):
    """Every unit before is a step: all are read. The units of the state are cut."""

    def middle(x):
        layer = keras.layers.deserialize(keras.layers.serialize(PERMUTED[name]))
        x = layer(layers.Permute((2, 1))(x))
        return layers.Flatten()(x)

    model = network(middle, length)
    sliced = check_slicing(model, random_units(model, 0.5))
    assert mk.explain(model)
    if name in KINDS or name == "sequences":
        assert sliced.get_layer("state").units == 4


# ---------------------------------------------------------------------------- at every step in time

DISTRIBUTED = {
    "dense": lambda: layers.Dense(6, activation="relu"),
    "convolution": lambda: layers.Conv2D(6, 3, activation="relu", padding="same"),
    "channels first": lambda: layers.Conv2D(6, 3, data_format="channels_first", activation="relu"),
    "pooling": lambda: layers.MaxPooling2D(2),
    "normalization": lambda: layers.BatchNormalization(),
    "flatten": lambda: layers.Flatten(),
    "recurrent": lambda: layers.SimpleRNN(4),
    "activation": lambda: layers.Activation("tanh"),
}


@pytest.mark.parametrize("name", list(DISTRIBUTED)[:: 2 if ON_JAX else 1])
def test_layer_at_every_time(name):
    is_sequence = name in ("dense", "recurrent", "activation")
    shape = {"recurrent": (4, 5, 3)}.get(name, (4, 3) if is_sequence else (4, 7, 7, 3))
    if name == "channels first" and keras.backend.backend() == "tensorflow":
        pytest.skip("tensorflow: no channels_first convolutions on a CPU")
    inputs = keras.Input(shape)
    x = layers.Dense(5, activation="relu", name="features")(inputs)
    x = layers.TimeDistributed(DISTRIBUTED[name](), name="each")(x)
    x = layers.Dense(6, activation="elu")(layers.Flatten()(x))
    model = randomize(keras.Model(inputs, layers.Dense(4)(x)))
    is_hidden = name in ("dense", "convolution", "channels first", "activation", "recurrent")
    assert ("each" in names(model)) == is_hidden
    check_slicing(model, random_units(model, 0.5))


def test_convolutions_at_every_time_are_sliced_and_classified_by_a_recurrent_layer():
    inputs = keras.Input((4, 7, 7, 3))
    x = layers.TimeDistributed(layers.Conv2D(8, 3, activation="relu"), name="maps")(inputs)
    x = layers.TimeDistributed(layers.GlobalAveragePooling2D())(x)
    x = layers.GRU(6, name="state")(x)
    model = randomize(keras.Model(inputs, layers.Dense(4)(x)))
    found = mk.find_hidden_activations(model)
    assert [(h.name, h.units, h.channel_axis) for h in found] == [("maps", 8, 4), ("state", 6, 1)]
    sliced = check_slicing(model, random_units(model, 0.5))
    assert sliced.get_layer("maps").layer.filters == 4


# ------------------------------------------------------------------------------------ whole models


def test_recurrent_model_from_training_to_files(tmp_path):
    words = keras.Input((6,), dtype="int32")
    x = layers.Embedding(9, 5)(words)
    x = layers.Bidirectional(layers.LSTM(6, return_sequences=True))(x)
    x = layers.GRU(8, name="state")(x)
    model = mk.ModularModel(words, layers.Dense(3)(x))
    assert [h.units for h in model.hidden_activations] == [6, 6, 8]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, modular_loss=mk.MODALoss())
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 9, (24, 6)).astype("int32"), np.arange(24) % 3
    model.fit(x, y, batch_size=12, verbose=0)

    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert names(loaded) == names(model)
    modules = mk.decompose(loaded, x, y, epsilon=0.05, verbose=0)
    modules.save(tmp_path / "modules")
    modules = mk.load_modules(tmp_path / "modules")
    small = mk.compose(modules, [2, 0])
    expected = run(mk.masked_model(modules, [2, 0]), [x])
    np.testing.assert_allclose(run(small, [x]), expected, rtol=1e-4, atol=1e-6)
