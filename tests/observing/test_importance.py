"""Importance by class, against differences of the loss in NumPy float64, sample by sample."""

import json
import zipfile

import keras
import numpy as np
import pytest
from keras import layers
from labelled_data import labelled_inputs, residual
from masking import randomize
from small_models import cnn, mlp

import moda_keras as mk
from moda_keras.observing import criteria

STEP = 1e-5


def decompose(model, x, y=None, **options):
    return mk.decompose(model, x, y, criterion="importance", verbose=0, batch_size=16, **options)


# ------------------------------------------------------------------- the models, sample by sample


def mlp_logits(weights, x, gates):
    for name in ("first", "second"):
        kernel, bias = weights[name]
        x = np.maximum(x @ kernel + bias, 0) * gates[name]
    kernel, bias = weights["logits"]
    return x @ kernel + bias


def convolve(x, kernel, bias):
    size = kernel.shape[0]
    rows, columns = x.shape[0] - size + 1, x.shape[1] - size + 1
    out = np.zeros((rows, columns, kernel.shape[-1]))
    for i in range(rows):
        for j in range(columns):
            out[i, j] = np.tensordot(x[i : i + size, j : j + size], kernel, 3) + bias
    return out


def cnn_logits(weights, x, gates):
    x = np.maximum(convolve(x, *weights["conv1"]), 0) * gates["relu1"]
    x = np.maximum(convolve(x, *weights["conv2"]), 0) * gates["conv2"]
    kernel, bias = weights["fc"]
    x = np.maximum(x.reshape(-1) @ kernel + bias, 0) * gates["fc"]
    kernel, bias = weights["logits"]
    return x @ kernel + bias


def recurrent_logits(weights, x, gates):
    """The gate is on the sequence and the last state, not inside the recurrence."""
    kernel, recurrent, bias = weights["rnn"]
    state, sequence = np.zeros(len(bias)), []
    for step in x:
        state = np.tanh(step @ kernel + state @ recurrent + bias)
        sequence.append(state)
    read = np.concatenate([np.mean(sequence, axis=0), state]) * np.tile(gates["rnn"], 2)
    kernel, bias = weights["logits"]
    return read @ kernel + bias


def recurrent(**head):
    steps = keras.Input((4, 3))
    sequence, state = layers.SimpleRNN(5, return_sequences=True, return_state=True, name="rnn")(
        steps
    )
    read = layers.concatenate([layers.GlobalAveragePooling1D()(sequence), state])
    return randomize(keras.Model(steps, layers.Dense(3, name="logits", **head)(read)))


def softmax_loss(logits, label):
    return np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[label]


def sigmoid_loss(logits, label):
    probabilities = 1 / (1 + np.exp(-logits))
    others = np.delete(probabilities, label)
    return -np.log(probabilities[label]) - np.log(1 - others).sum()


def expected_importance(logits_of, loss, model, x, y):
    weights = {
        layer.name: [w.astype("float64") for w in layer.get_weights()] for layer in model.layers
    }
    units = {h.name: h.units for h in mk.find_hidden_activations(model)}
    importance = {name: np.zeros((model.output_shape[-1], d)) for name, d in units.items()}
    for sample, label in zip(x.astype("float64"), y, strict=True):
        for name, number in units.items():
            for unit in range(number):
                losses = []
                for shift in (STEP, -STEP):
                    gates = {each: np.ones(d) for each, d in units.items()}
                    gates[name][unit] += shift
                    losses.append(loss(logits_of(weights, sample, gates), label))
                change = abs(losses[0] - losses[1]) / (2 * STEP)
                importance[name][label, unit] += change / (y == label).sum()
    return importance


def check_equal(received, expected, tolerance=1e-4):
    assert received.keys() == expected.keys()
    for name, values in expected.items():
        scale = np.abs(values).max()
        assert scale > 0
        np.testing.assert_allclose(received[name], values, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize(
    ("make", "logits_of", "head", "loss"),
    [
        (mlp, mlp_logits, {}, softmax_loss),
        (cnn, cnn_logits, {"activation": "sigmoid"}, sigmoid_loss),
        (recurrent, recurrent_logits, {"activation": "softmax"}, softmax_loss),
    ],
    ids=["dense, linear", "convolutional, sigmoid", "recurrent, softmax"],
)
def test_importance_is_the_mean_change_of_the_loss(make, logits_of, head, loss):
    model = make(**head)
    x, y = labelled_inputs(model, samples=12)
    modules = decompose(model, x, y)
    check_equal(modules.importance, expected_importance(logits_of, loss, model, x, y))
    assert {values.dtype for values in modules.importance.values()} == {np.dtype("float64")}
    assert modules.criterion == "importance"


def test_counts_are_those_without_importance():
    model = mlp()
    x, y = labelled_inputs(model)
    received, expected = decompose(model, x, y), mk.decompose(model, x, y, verbose=0)
    for name, counts in expected.activation_counts.items():
        np.testing.assert_array_equal(received.activation_counts[name], counts)
    assert expected.importance is None
    assert expected.criterion == "frequency"


def test_samples_without_labels_are_of_the_predicted_class():
    model = mlp()
    x, _ = labelled_inputs(model)
    predicted = np.asarray(model.predict(x, verbose=0)).argmax(axis=1)
    received, expected = decompose(model, x), decompose(model, x, predicted)
    np.testing.assert_array_equal(received.sample_counts, expected.sample_counts)
    check_equal(received.importance, expected.importance, 1e-6)


def test_samples_of_weight_0_count_nothing():
    model = mlp()
    x, y = labelled_inputs(model)
    weight = (np.arange(len(x)) % 3).astype("float32")
    kept = weight > 0
    received = decompose(model, x, y, sample_weight=weight)
    check_equal(received.importance, decompose(model, x[kept], y[kept]).importance, 1e-6)


def test_stream_gives_what_arrays_give():
    model = cnn(activation="softmax")
    x, y = labelled_inputs(model)
    one_hot = np.eye(4, dtype="float32")[y]
    batches = ((x[i : i + 7], one_hot[i : i + 7]) for i in range(0, len(x), 7))
    check_equal(decompose(model, batches).importance, decompose(model, x, y).importance, 1e-5)


def test_masks_of_time_steps_reach_the_layers_behind_a_gate():
    def make():
        words = keras.Input((None,), dtype="int32")
        x = layers.Embedding(6, 4, mask_zero=True)(words)
        x = layers.SimpleRNN(4, return_sequences=True, name="rnn")(x)
        x = layers.GlobalAveragePooling1D()(x)
        return randomize(keras.Model(words, layers.Dense(3)(x)))

    model = make()
    words = np.array([[1, 2, 0, 0, 0], [3, 4, 5, 0, 0]], "int32")
    short = [decompose(model, words[i : i + 1, : 2 + i], np.array([i])) for i in range(2)]
    received = decompose(model, words, np.array([0, 1]))
    expected = sum(each.importance["rnn"] for each in short)
    check_equal({"rnn": received.importance["rnn"]}, {"rnn": expected}, 1e-5)


def test_class_without_samples_has_no_importance():
    model = mlp()
    x, _ = labelled_inputs(model)
    with pytest.warns(UserWarning, match="no sample"):
        modules = decompose(model, x, np.zeros(len(x), int))
    assert all(values[1:].max() == 0 for values in modules.importance.values())


def test_activation_that_nothing_reads_has_importance_0():
    class Stop(layers.Layer):
        def call(self, inputs):
            return keras.ops.stop_gradient(inputs)

    inputs = keras.Input((4,))
    x = layers.Dense(3, activation="relu", name="features")(inputs)
    model = randomize(keras.Model(inputs, layers.Dense(2, name="logits")(Stop()(x))))
    modules = decompose(model, *labelled_inputs(model))
    assert modules.importance["features"].max() == 0


# ------------------------------------------------------------------------------- other criteria


def test_variance_is_that_over_samples_and_positions():
    model = residual()
    x, y = labelled_inputs(model)
    modules = mk.decompose(model, x, y, criterion="variance", verbose=0)
    outputs = [model.get_layer(name).output for name in ("conv1", "relu", "fc")]
    values = [np.asarray(each, "float64") for each in keras.Model(model.input, outputs).predict(x)]
    for name, each in zip(("conv1", "relu", "fc"), values, strict=True):
        expected = np.array(
            [each[y == c].reshape(-1, each.shape[-1]).var(axis=0) for c in range(4)]
        )
        expected *= outgoing_norm(model, name)
        check_equal({name: modules.importance[name]}, {name: expected})
    assert modules.criterion == "variance"


def outgoing_norm(model, name):
    """Of `residual`: the first convolution is read by the second and, through the sum, by fc."""
    readers = {"conv1": ("conv2", "fc"), "relu": ("fc",), "fc": ("logits",)}[name]
    kernels = [np.asarray(model.get_layer(each).get_weights()[0]) for each in readers]
    return (
        sum((kernel.reshape(-1, *kernel.shape[-2:]) ** 2).sum(axis=(0, 2)) for kernel in kernels)
        ** 0.5
    )


class Halves(mk.criteria.Criterion):
    """Half of the samples, whatever they show."""

    name = "halves"

    def observe(self, activation, gradients):
        assert gradients is None
        return [mk.ops.unit_peaks(activation.values, axis=activation.axis) * 0 + 0.5]

    def importance(self, sums, samples, outgoing):
        return sums[0] * self.factor

    factor = 1.0


def test_own_criterion_is_taken():
    model = mlp()
    x, y = labelled_inputs(model, samples=30)
    modules = mk.decompose(model, x, y, criterion=Halves(), verbose=0)
    np.testing.assert_array_equal(modules.importance["first"], np.full((3, 6), 5.0))
    assert modules.criterion == "halves"


class OfPlaces(Halves):
    """Some units more than others."""

    name = "places"

    def importance(self, sums, samples, outgoing):
        return sums[0] * (1 + np.arange(sums[0].shape[1]))


def test_own_criterion_measures_again_after_loading(tmp_path, monkeypatch):
    model = mlp()
    x, y = labelled_inputs(model, samples=60)
    monkeypatch.setattr(criteria, "_OF_USERS", {})
    modules = mk.decompose(model, x, y, criterion=OfPlaces(), verbose=0)
    arguments = {"parameters": 0.6, "classes": [0, 2], "calibration_data": x[y != 1], "verbose": 0}
    expected = modules.within(**arguments).units
    modules.save(tmp_path / "a.modules")
    monkeypatch.setattr(criteria, "_OF_USERS", {})
    loaded = mk.load_modules(tmp_path / "a.modules")
    with pytest.raises(ValueError, match=r"'places'.*register_criterion\(MyCriterion\(\)\)"):
        loaded.within(**arguments)
    mk.criteria.register_criterion(OfPlaces())
    check_equal(loaded.within(**arguments).units, expected)


@pytest.mark.parametrize("name", ["frequency", "importance", None])
def test_name_of_a_criterion_of_the_library_is_refused(name):
    class Named(Halves):
        pass

    Named.name = name
    with pytest.raises(ValueError, match=r"Received: .*Named"):
        mk.decompose(mlp(), *labelled_inputs(mlp()), criterion=Named(), verbose=0)
    assert mk.criteria.register_criterion(mk.criteria.LossChange())


@pytest.mark.parametrize("found", ["a tensor", "two", "transposed", "none"])
def test_observations_of_another_form_are_refused(found):
    class Other(Halves):
        name = "other"

        def observe(self, activation, gradients):
            (rows,) = super().observe(activation, gradients)
            transposed = keras.ops.transpose(rows)
            others = {"a tensor": rows, "two": [rows, rows], "transposed": [transposed]}
            return others.get(found)

    model = mlp()
    message = (
        r"`observe` of the criterion 'other' to return a list of 1 tensors of shape \(batch, 6"
    )
    with pytest.raises(ValueError, match=message):
        mk.decompose(model, *labelled_inputs(model), criterion=Other(), verbose=0)


def test_criterion_with_impossible_numbers_is_refused():
    model = mlp()
    criterion = Halves()
    criterion.factor = np.nan
    with pytest.raises(ValueError, match=r"'halves' finite numbers >= 0 .* 'first'"):
        mk.decompose(model, *labelled_inputs(model), criterion=criterion, verbose=0)


def test_gradient_that_is_not_finite_is_explained():
    inputs = keras.Input((6,))
    x = layers.Dense(5, activation="relu", name="features")(inputs)
    model = keras.Model(inputs, layers.Dense(4)(keras.ops.sqrt(x)))
    x, y = labelled_inputs(model)
    with pytest.raises(ValueError, match=r'as those of a square root .* criterion="variance"'):
        decompose(model, x, y)
    assert mk.decompose(model, x, y, criterion="variance", verbose=0).importance


def test_unknown_criterion_is_refused():
    model = mlp()
    with pytest.raises(ValueError, match=r"\['frequency', 'importance', 'variance'\]"):
        mk.decompose(model, *labelled_inputs(model), criterion="magnitude")


# ---------------------------------------------------------------------------------- module sets


def test_importance_stays_with_the_modules(tmp_path):
    model = mlp()
    modules = decompose(model, *labelled_inputs(model))
    path = tmp_path / "with.modules"
    modules.save(path)
    for other in (modules.with_threshold(0.5), mk.load_modules(path)):
        check_equal(other.importance, modules.importance, 1e-15)
        assert other.criterion == "importance"
    assert version_of(path) == 3
    mk.ModuleSet.from_counts(model, modules.activation_counts, modules.sample_counts).save(
        tmp_path / "without.modules"
    )
    assert version_of(tmp_path / "without.modules") == 1  # older versions of the library read it


def version_of(path):
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("manifest.json"))["version"]
