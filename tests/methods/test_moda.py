import keras
import numpy as np
import pytest
from keras import layers
from masking import randomize
from oracles import activation_frequency
from small_models import BACKEND, cnn, inputs_of, mlp

import moda_keras as mk

SAMPLES = 24
LABELS = np.array([0, 1, 2, 2] * 6)


@pytest.fixture(scope="module")
def model():
    return mlp()


@pytest.fixture(scope="module")
def x(model):
    return inputs_of(model, SAMPLES)


@pytest.fixture(scope="module")
def modules(model, x):
    return decompose(model, x, LABELS)


def decompose(model, x, y=None, **arguments):
    return mk.decompose(model, x, y, verbose=0, **{"batch_size": 8, **arguments})


def activations(model, names, x):
    """What the model itself gives in inference mode."""
    layers_by_name = {layer.name: layer for layer in model.layers}
    inputs = model.inputs[0] if len(model.inputs) == 1 else model.input
    probe = keras.Model(inputs, [layers_by_name[name].output for name in names])
    values = keras.tree.flatten(probe(x, training=False))
    return [keras.ops.convert_to_numpy(keras.ops.cast(a, "float32")) for a in values]


def check_counts(modules, model, x, labels, *, epsilon=0.0, axis=-1, sample_weight=None):
    """Asserts that the counts are those of a loop over the model's own activations."""
    classes = model.output_shape[-1]
    names = list(modules.activation_counts)
    for name, values in zip(names, activations(model, names, x), strict=True):
        expected = activation_frequency(
            values, labels, classes, sample_weight=sample_weight, axis=axis, epsilon=epsilon
        )
        np.testing.assert_array_equal(modules.activation_counts[name], expected)
        assert expected.min() < expected.max()


def same_counts(first, second):
    for name in first.activation_counts:
        np.testing.assert_array_equal(first.activation_counts[name], second.activation_counts[name])
    np.testing.assert_array_equal(first.sample_counts, second.sample_counts)
    return True


# ------------------------------------------------------------------------------------ counting


def test_dense_units_are_counted_by_class(modules, model, x):
    check_counts(modules, model, x, LABELS)
    np.testing.assert_array_equal(modules.sample_counts, [6, 6, 12])
    assert list(modules.units) == ["first", "second"]
    assert modules.activation_counts["first"].dtype == np.int64


def test_membership_is_the_frequency_against_the_threshold(modules, model, x):
    names = ["first", "second"]
    for name, values in zip(names, activations(model, names, x), strict=True):
        for c in range(3):
            rows = values[c == LABELS]
            fraction = [sum(row[i] > 0 for row in rows) / len(rows) for i in range(len(rows[0]))]
            np.testing.assert_allclose(modules.frequency[name][c], fraction)
            kept = [f >= 0.9 for f in fraction]
            if any(kept):
                assert modules.units[name][c].tolist() == kept


def test_channel_of_a_map_is_active_if_any_position_is():
    model = cnn()
    model.get_layer("conv1").bias.assign(np.full(5, -2.5, "float32"))
    x = inputs_of(model, 16)
    labels = np.arange(16) % 4
    modules = decompose(model, x, labels)
    check_counts(modules, model, x, labels)
    values = activations(model, ["relu1"], x)[0]
    assert ((values > 0).any((1, 2)) != (values > 0).all((1, 2))).any()


@pytest.mark.skipif(BACKEND == "tensorflow", reason="TensorFlow convolves no NCHW maps on a CPU")
def test_channels_first_maps():
    image = keras.Input((2, 6, 6))
    x = layers.Conv2D(5, 3, data_format="channels_first", name="conv")(image)
    x = layers.ReLU(name="conv_relu")(x)
    x = layers.GlobalAveragePooling2D(data_format="channels_first")(x)
    model = randomize(keras.Model(image, layers.Dense(3)(x)))
    model.get_layer("conv").bias.assign(np.full(5, -3, "float32"))
    data = inputs_of(model, SAMPLES)
    modules = decompose(model, data, LABELS)
    assert modules.units["conv_relu"].shape == (3, 5)
    check_counts(modules, model, data, LABELS, axis=1)


def test_activation_without_exact_zeros_counts_from_epsilon_on(x):
    model = mlp(activation="gelu")
    modules = decompose(model, x, LABELS, epsilon=0.1)
    check_counts(modules, model, x, LABELS, epsilon=0.1)
    everything = decompose(model, x, LABELS, epsilon=0.0)
    assert everything.activation_counts["first"].sum() > modules.activation_counts["first"].sum()


def test_epsilon_does_not_matter_to_exact_zeros(modules, model, x):
    assert same_counts(modules, decompose(model, x, LABELS, epsilon=0.5))


def test_epsilon_of_each_activation(x):
    model = mlp(activation="gelu")
    modules = decompose(model, x, LABELS, epsilon={"second": 0.1})
    assert modules.epsilons == {"first": 1e-3, "second": 0.1}
    for name, epsilon in modules.epsilons.items():
        other = decompose(model, x, LABELS, epsilon=epsilon)
        np.testing.assert_array_equal(modules.frequency[name], other.frequency[name])
    assert modules.with_threshold(0.5).epsilons == modules.epsilons


def test_epsilon_of_an_activation_with_exact_zeros(modules, model, x):
    assert modules.epsilons == {"first": 0.0, "second": 0.0}
    strict = decompose(model, x, LABELS, epsilon={"first": 0.5})
    assert strict.epsilons == {"first": 0.5, "second": 0.0}
    assert strict.activation_counts["first"].sum() < modules.activation_counts["first"].sum()


@pytest.mark.parametrize("epsilon", [-0.1, "small", None, float("nan"), {"first": -1}])
def test_wrong_epsilon_is_named(model, x, epsilon):
    with pytest.raises(ValueError, match=r"`epsilon` to be .*number >= 0.*Received: epsilon="):
        decompose(model, x, LABELS, epsilon=epsilon)


def test_epsilon_of_an_unknown_activation_is_named(model, x):
    with pytest.raises(ValueError, match=r"among \['first', 'second'\]. Received: \['third'\]"):
        decompose(model, x, LABELS, epsilon={"third": 0.1})


def choose(model, x, **arguments):
    return mk.choose_epsilons(model, x, verbose=0, **{"batch_size": 8, **arguments})


def quantile_of_peaks(model, name, x, quantile):
    (values,) = activations(model, [name], x)
    peaks = np.abs(values).reshape(len(values), -1, values.shape[-1]).max(axis=1)
    return np.sort(peaks.ravel())[max(int(np.ceil(quantile * peaks.size)) - 1, 0)]


@pytest.mark.parametrize("quantile", [0.0, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("activation", ["gelu", "tanh", "softplus"])
def test_chosen_epsilon_is_the_quantile_of_magnitudes(activation, quantile, x):
    model = mlp(activation=activation)
    epsilons = choose(model, x, quantile=quantile)
    assert list(epsilons) == ["first", "second"]
    for name, epsilon in epsilons.items():
        expected = quantile_of_peaks(model, name, x, quantile)
        assert expected <= epsilon * (1 + 1e-5) <= expected * 1.012


def test_chosen_epsilon_makes_that_fraction_of_units_active(x):
    model = mlp(activation="tanh")
    modules = decompose(model, x, LABELS, epsilon=choose(model, x, quantile=0.6))
    for counts in modules.activation_counts.values():
        active = counts.sum() / (SAMPLES * counts.shape[1])
        assert abs(active - 0.4) < 0.05


def test_chosen_epsilon_of_a_map_is_that_of_its_largest_position():
    image = keras.Input((6, 6, 2))
    maps = layers.Conv2D(5, 3, activation="silu", name="maps")(image)
    value = layers.Dense(4, activation="relu", name="fc")(layers.Flatten()(maps))
    model = randomize(keras.Model(image, layers.Dense(3)(value)))
    data = inputs_of(model, SAMPLES)
    epsilons = choose(model, data)
    assert list(epsilons) == ["maps"], "a ReLU has exact zeros"
    expected = quantile_of_peaks(model, "maps", data, 0.5)
    assert expected <= epsilons["maps"] * (1 + 1e-5) <= expected * 1.012


def test_chosen_epsilon_does_not_depend_on_batches_nor_on_labels(x):
    model = mlp(activation="gelu")
    expected = choose(model, x)
    for epsilons in (choose(model, x, batch_size=5), choose(model, Batches(x, LABELS))):
        assert epsilons == pytest.approx(expected, rel=0.012)
    assert mk.choose_epsilons(model, endless(x, LABELS), steps=3, verbose=0) == expected


def test_chosen_epsilon_of_huge_tiny_and_silent_units():
    inputs = keras.Input((1,))
    scaled = [layers.Rescaling(scale)(inputs) for scale in (1e-20, 1e20, 0.0)]
    parts = [layers.LeakyReLU(name=f"part{i}")(part) for i, part in enumerate(scaled)]
    model = randomize(keras.Model(inputs, layers.Dense(3)(layers.Concatenate()(parts))))
    epsilons = choose(model, np.ones((4, 1), "float32"))
    assert epsilons == {
        "part0": 2.0**-32,
        "part1": pytest.approx(2.0**32, rel=0.02),
        "part2": 2.0**-32,
    }


@pytest.mark.parametrize("quantile", [-0.1, 1.0, float("nan")])
def test_wrong_quantile_is_named(model, x, quantile):
    with pytest.raises(ValueError, match=r"`quantile` in \[0, 1\). Received: quantile="):
        choose(model, x, quantile=quantile)


def test_chosen_epsilon_names_activations_that_are_not_finite(x):
    model = mlp(activation="gelu")
    kernel = model.get_layer("second").kernel
    kernel.assign(np.full(kernel.shape, 3e38, "float32"))
    with pytest.raises(ValueError, match=r"NaN or infinity in the activations \['second'\]"):
        choose(model, x)


def test_counts_do_not_depend_on_the_batches(modules, model, x):
    assert same_counts(modules, decompose(model, x, LABELS, batch_size=24))
    assert same_counts(modules, decompose(model, x, LABELS, batch_size=5))


def test_one_hot_labels_and_column_labels(modules, model, x):
    assert same_counts(modules, decompose(model, x, np.eye(3, dtype="float32")[LABELS]))
    assert same_counts(modules, decompose(model, x, LABELS[:, None].astype("uint8")))


def test_samples_of_weight_zero_are_not_counted(model, x):
    weight = np.array([1.0, 0.0, 2.0] * 8, "float32")
    modules = decompose(model, x, LABELS, sample_weight=weight)
    check_counts(modules, model, x, LABELS, sample_weight=weight)
    kept = LABELS[weight != 0]
    np.testing.assert_array_equal(modules.sample_counts, np.bincount(kept, minlength=3))


def test_class_names_and_threshold_are_kept(model, x):
    modules = decompose(model, x, LABELS, threshold=0.4, class_names=["a", "b", "c"])
    assert (modules.threshold, modules.class_names) == (0.4, ("a", "b", "c"))
    np.testing.assert_array_equal(modules["c"].units["first"], modules.units["first"][2])


def test_every_activation_of_a_decomposed_model_is_known(modules, model):
    for hidden in mk.find_hidden_activations(model):
        assert modules.units[hidden.name].shape == (3, hidden.units)
        assert modules.units[hidden.name].dtype == bool


# ---------------------------------------------------------------------------- kinds of data


class Batches(keras.utils.PyDataset):
    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def __len__(self):
        return 3

    def __getitem__(self, index):
        rows = slice(8 * index, 8 * index + 8)
        return self.x[rows], self.y[rows]


def endless(x, y):
    while True:
        for start in range(0, len(x), 8):
            yield x[start : start + 8], y[start : start + 8]


def test_py_dataset(modules, model, x):
    assert same_counts(modules, mk.decompose(model, Batches(x, LABELS), verbose=0))


def test_endless_generator_stops_after_steps(modules, model, x):
    assert same_counts(modules, mk.decompose(model, endless(x, LABELS), steps=3, verbose=0))
    shorter = decompose(model, x[:16], LABELS[:16])
    assert same_counts(shorter, mk.decompose(model, endless(x, LABELS), steps=2, verbose=0))


@pytest.mark.skipif(BACKEND != "tensorflow", reason="a tf.data pipeline")
def test_tf_data(modules, model, x):
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((x, LABELS)).batch(7)
    assert same_counts(modules, mk.decompose(model, data, verbose=0))


@pytest.mark.skipif(BACKEND != "torch", reason="a torch DataLoader")
def test_data_loader(modules, model, x):
    import torch

    data = torch.utils.data.TensorDataset(torch.tensor(x), torch.tensor(LABELS))
    loader = torch.utils.data.DataLoader(data, batch_size=7, shuffle=True)
    assert same_counts(modules, mk.decompose(model, loader, verbose=0))


@pytest.fixture(scope="module")
def two_inputs():
    left, right = keras.Input((3,), name="left"), keras.Input((2,), name="right")
    x = layers.Dense(6, activation="relu", name="first")(layers.Concatenate()([left, right]))
    outputs = layers.Dense(3)(x)
    rng = np.random.default_rng(2)
    data = [rng.normal(size=(SAMPLES, n)).astype("float32") for n in (3, 2)]
    return left, right, outputs, data


def test_list_of_inputs(two_inputs):
    left, right, outputs, data = two_inputs
    model = randomize(keras.Model([left, right], outputs))
    modules = decompose(model, data, LABELS)
    check_counts(modules, model, data, LABELS)


def test_dict_of_inputs(two_inputs):
    left, right, outputs, data = two_inputs
    model = randomize(keras.Model({"left": left, "right": right}, outputs))
    modules = decompose(model, {"right": data[1], "left": data[0]}, LABELS)
    flat = randomize(keras.Model([left, right], outputs))
    check_counts(modules, flat, data, LABELS)


# --------------------------------------------------------------------------- kinds of models


def blocks_of_equal_names():
    """Two nested models whose layers bear the same names."""
    blocks = [
        keras.Sequential([keras.Input((4,)), layers.Dense(4, activation="relu", name="dense")])
        for _ in range(2)
    ]
    inputs = x = keras.Input((4,))
    for block in blocks:
        x = block(x)
    return randomize(keras.Model(inputs, layers.Dense(3, name="logits")(x))), blocks


def test_nested_models_are_counted_and_keep_their_names(x):
    model, blocks = blocks_of_equal_names()
    modules = decompose(model, x, LABELS)
    value = x
    for block, name in zip(blocks, modules.activation_counts, strict=True):
        value = keras.ops.convert_to_numpy(block(value))
        expected = activation_frequency(value, LABELS, 3)
        np.testing.assert_array_equal(modules.activation_counts[name], expected)
    names = [hidden.name for hidden in mk.find_hidden_activations(model)]
    assert names == list(modules.units)
    assert [layer.name for block in blocks for layer in block.layers] == ["dense", "dense"]


def test_model_runs_in_inference_mode(x):
    inputs = keras.Input((4,))
    value = layers.Dense(6, name="dense")(inputs)
    value = layers.BatchNormalization(name="norm")(value)
    value = layers.ReLU(name="relu")(value)
    value = layers.Dropout(0.9, name="dropout")(value)
    value = layers.Dense(5, activation="relu", name="fc")(value)
    model = randomize(keras.Model(inputs, layers.Dense(3)(value)))
    before = model.get_weights()
    modules = decompose(model, x, LABELS)
    check_counts(modules, model, x, LABELS)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_modular_model_and_its_plain_form_have_the_same_modules(modules, model, x):
    modular = mk.ModularModel.from_model(model)
    modular.compile("sgd", "mse", modular_loss=mk.MODALoss())
    assert same_counts(modules, decompose(modular, x, LABELS))


def test_mixed_precision(x):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = mlp()
    finally:
        keras.config.set_dtype_policy(before)
    modules = decompose(model, x, LABELS)
    check_counts(modules, model, x, LABELS)


# -------------------------------------------------------------------- the model is unchanged


@pytest.fixture
def compiled():
    model = mlp()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    return model


def state(model):
    weights = [w.copy() for w in model.get_weights()]
    flags = [layer.trainable for layer in model.layers]
    return weights, flags, [layer.name for layer in model.layers], model.compiled


def check_unchanged(model, before, x):
    weights, *others = state(model)
    for old, new in zip(before[0], weights, strict=True):
        np.testing.assert_array_equal(old, new)
    assert others == list(before[1:])
    assert np.isfinite(model.evaluate(x, LABELS, verbose=0)).all()


def test_model_is_unchanged(compiled, x):
    compiled.train_on_batch(x, LABELS)
    before, optimizer, loss = state(compiled), compiled.optimizer, compiled.loss
    iterations = int(optimizer.iterations)
    decompose(compiled, x, LABELS)
    assert compiled.optimizer is optimizer
    assert compiled.loss is loss
    assert int(optimizer.iterations) == iterations
    check_unchanged(compiled, before, x)


def test_weights_survive_a_failure(compiled, x):
    before = state(compiled)
    with pytest.raises(ValueError, match="label"):
        mk.decompose(compiled, endless(x, LABELS[:, None].repeat(2, 1)), steps=1, verbose=0)
    with pytest.raises(ValueError, match="without labels"):
        decompose(compiled, x)
    with pytest.raises(Exception, match=r".+"):
        decompose(compiled, x[:, :3], LABELS)
    check_unchanged(compiled, before, x)


# -------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("wrong", [-1, 3])
def test_label_out_of_range(model, x, wrong):
    labels = LABELS.copy()
    labels[-1] = wrong
    with pytest.raises(ValueError, match="labels from 0 to 2"):
        decompose(model, x, labels)
    with pytest.raises(ValueError, match="with 1 labels out of that range"):
        mk.decompose(model, endless(x, labels), steps=3, verbose=0)


def test_labels_are_missing(model, x):
    with pytest.raises(ValueError, match="without labels"):
        decompose(model, x)


def test_one_hot_labels_of_the_wrong_width(model, x):
    with pytest.raises(ValueError, match=r"one-hot labels of shape \(batch, 3\)"):
        decompose(model, x, np.eye(4)[LABELS])


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_threshold_outside_its_range(model, x, threshold):
    with pytest.raises(ValueError, match=r"`threshold` in \[0, 1\]"):
        decompose(model, x, LABELS, threshold=threshold)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weight_that_is_not_finite_is_named(x, value):
    model = mlp()
    kernel, bias = model.get_layer("second").get_weights()
    kernel[0, 0] = value
    model.get_layer("second").set_weights([kernel, bias])
    with pytest.raises(ValueError, match=r"finite weights.*'mlp/second/kernel'"):
        decompose(model, x, LABELS)


def test_activation_that_is_not_finite_is_named(x):
    model = mlp()
    kernel = model.get_layer("second").kernel
    kernel.assign(np.full(kernel.shape, 3e38, "float32"))
    model.get_layer("first").bias.assign(np.full(6, 10, "float32"))
    with pytest.raises(ValueError, match=r"activations \['second'\]"):
        decompose(model, np.abs(x), LABELS)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_input_that_is_not_finite_is_refused(value):
    model = cnn()
    x = inputs_of(model, 16)
    x[3, 2, 2, 0] = value
    with pytest.raises(ValueError, match="Received: 1 values in `x`"):
        decompose(model, x, np.arange(16) % 4)


def test_class_without_samples_has_no_module(model, x):
    with pytest.warns(UserWarning, match=r"no sample of the classes \['dog'\]"):
        modules = decompose(model, x, LABELS % 2, class_names=["ant", "bee", "dog"])
    assert not any(units[2].any() for units in modules.units.values())
    np.testing.assert_array_equal(modules.classes_with_modules(), [0, 1])
    with pytest.raises(ValueError, match="'dog'"):
        modules.resolve_classes([0, 2])
    with pytest.raises(ValueError, match="'dog'"):
        mk.compose(modules, ["dog"])


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_weights_that_are_none_are_refused(bad, model, x):
    weight = np.ones(SAMPLES, "float32")
    weight[[2, 5]] = bad
    for options in ({}, {"criterion": "importance"}):
        with pytest.raises(ValueError, match=r"finite numbers >= 0. Received: 2 that are negative"):
            decompose(model, x, LABELS, sample_weight=weight, **options)
        batches = ((x[i : i + 6], LABELS[i : i + 6], weight[i : i + 6]) for i in (0, 6, 12))
        with pytest.raises(ValueError, match=r"finite numbers >= 0. Received: 2 that are negative"):
            decompose(model, batches, **options)


def test_no_sample_at_all(model, x):
    with pytest.raises(ValueError, match="at least one training sample"):
        decompose(model, x, LABELS, sample_weight=np.zeros(SAMPLES))
    with pytest.raises(ValueError, match="at least one training sample"):
        decompose(model, x[:0], LABELS[:0])


def test_model_without_hidden_activation(x):
    linear = keras.Sequential([keras.Input((4,)), layers.Dense(5), layers.Dense(3)])
    with pytest.raises(ValueError, match="at least one hidden activation"):
        decompose(linear, x, LABELS)


def test_model_with_several_outputs(x):
    inputs = keras.Input((4,))
    hidden = layers.Dense(5, activation="relu")(inputs)
    model = keras.Model(inputs, [layers.Dense(3)(hidden), layers.Dense(3)(hidden)])
    with pytest.raises(ValueError, match="2 outputs"):
        decompose(model, x, LABELS)


def test_model_without_a_graph(x):
    class Subclassed(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(ValueError, match="not built yet"):
        decompose(keras.Sequential([layers.Dense(3)]), x, LABELS)
    with pytest.raises(ValueError, match="was never called"):
        decompose(Subclassed(), x, LABELS)
    with pytest.raises(ValueError, match=r"keras\.Model"):
        decompose("model", x, LABELS)


@pytest.mark.parametrize("names", [["a", "b"], ["a", "b", "b"], ["a", "b", "c", "d"]])
def test_wrong_class_names(model, x, names):
    with pytest.raises(ValueError, match="3 distinct names"):
        decompose(model, x, LABELS, class_names=names)


def test_automatic_epsilon_is_the_median_magnitude(x):
    model = mlp(activation="gelu")
    expected = choose(model, x, quantile=0.5)
    for found in (
        decompose(model, x, LABELS),
        decompose(model, x, LABELS, epsilon="auto"),
        decompose(model, Batches(x, LABELS)),
    ):
        assert found.epsilons == pytest.approx(expected)
        active = np.mean([frequency.mean() for frequency in found.frequency.values()])
        assert 0.4 < active < 0.6


def test_automatic_epsilon_is_chosen_from_a_sample_of_large_arrays_and_tensors(x, monkeypatch):
    monkeypatch.setattr("moda_keras.observing.epsilons.AUTO_SAMPLES", 10)
    model = mlp(activation="gelu")
    rows = np.sort(np.random.default_rng(0).permutation(SAMPLES)[:10])
    expected = choose(model, x[rows], quantile=0.5)
    for data in (x, keras.ops.convert_to_tensor(x)):
        assert decompose(model, data, LABELS).epsilons == pytest.approx(expected)


def test_automatic_epsilon_of_data_that_is_read_once_is_the_default_with_a_warning(x):
    model = mlp(activation="gelu")
    with pytest.warns(UserWarning, match=r"never exactly zero.*choose_epsilons"):
        found = decompose(model, (batch for batch in [(x, LABELS)]))
    assert set(found.epsilons.values()) == {1e-3}


def test_time_folded_into_the_batch_is_refused():
    inputs = keras.Input((5, 4))
    x = layers.Dense(6, activation="relu")(keras.ops.reshape(inputs, (-1, 4)))
    model = keras.Model(inputs, layers.Dense(3)(keras.ops.reshape(x, (-1, 30))))
    x = inputs_of(model, SAMPLES)
    with pytest.raises(ValueError, match=r"one label for each sample. Received: 8 labels for 40"):
        decompose(model, x, LABELS)
    modular = mk.ModularModel.from_model(model)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    modular.compile("sgd", loss, modular_loss=mk.MODALoss(), run_eagerly=True)
    with pytest.raises(ValueError, match=r"one label for each sample. Received: 8 labels for 40"):
        modular.fit(x, LABELS, batch_size=8, verbose=0)


def test_progress_is_a_bar_without_figures(model, x, capsys):
    mk.decompose(model, x, LABELS, batch_size=8, verbose=1)
    shown = capsys.readouterr().out
    assert "3/3" in shown and "step" in shown
    assert "samples" not in shown


def test_labels_may_be_lists_and_names(x, modules, model):
    names = ["ant", "bee", "cat"]
    assert same_counts(modules, decompose(model, x, LABELS.tolist()))
    by_name = decompose(model, x, [names[label] for label in LABELS], class_names=names)
    assert same_counts(modules, by_name)
    with pytest.raises(ValueError, match=r"Expected `class_names`.*'ant'"):
        decompose(model, x, [names[label] for label in LABELS])
    with pytest.raises(ValueError, match=r"among `class_names`.*\['cow'\]"):
        decompose(model, x, ["cow"] * len(LABELS), class_names=names)


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, "8"])
def test_batch_size_that_is_not_a_positive_int(model, x, batch_size):
    with pytest.raises(ValueError, match=r"`batch_size` to be a positive int. Received"):
        decompose(model, x, LABELS, batch_size=batch_size)


def test_arrays_that_do_not_fit_are_named(model, x):
    with pytest.raises(ValueError, match=rf"{len(x)}\] samples in `x` and {len(x) - 1} labels"):
        mk.decompose(model, x, np.zeros(len(x) - 1, int), verbose=0)
    wrong = np.zeros((3, *(n + 1 for n in x.shape[1:])))
    with pytest.raises(ValueError, match="Expected samples of shape"):
        mk.decompose(model, wrong, np.zeros(3, int), verbose=0)
