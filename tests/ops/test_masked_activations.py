"""Activations of sequences with padding: only the positions that a mask leaves are looked at."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from small_models import BACKEND

import moda_keras as mk
from moda_keras.ops import MaskedActivation, position_means, unit_magnitudes, unit_peaks

B, T, D, C = 7, 5, 4, 3
LABELS = np.array([0, 1, 2, 0, 1, 2, 2])


def sequences(shape=(B, T, D), seed=0):
    values = np.random.default_rng(seed).normal(size=shape).astype("float32")
    values[np.abs(values) < 0.3] = 0
    mask = np.arange(T) < np.array([5, 3, 1, 4, 0, 2, 0])[:, None]
    mask[3, 0] = False  # padding need not be at the end
    return values, mask


def looped(values, mask, axis=-1):
    """Means and peaks (B, D), by loops."""
    values = np.moveaxis(np.asarray(values, "float64"), axis, -1)
    samples, units = len(values), values.shape[-1]
    means, peaks = np.zeros((samples, units)), np.zeros((samples, units))
    for b in range(samples):
        for d in range(units):
            seen = []
            for t in range(values.shape[1]):
                if mask[b, t]:
                    seen += [abs(v) for v in np.ravel(values[b, t, ..., d])]
            means[b, d] = sum(seen) / len(seen) if seen else 0
            peaks[b, d] = max(seen, default=0)
    return means, peaks


def looped_statistics(values, mask):
    means, _ = looped(values, mask)
    sums, nonzero, l1 = np.zeros((C, D)), np.zeros(C), np.zeros(C)
    for row, label in zip(means, LABELS, strict=True):
        norm = np.sqrt((row**2).sum())
        if norm > 0:
            sums[label] += row / norm
            nonzero[label] += 1
        l1[label] += row.sum()
    return sums, nonzero, l1


@pytest.mark.parametrize(("shape", "axis"), [((B, T, D), -1), ((B, T, D, 2), 2), ((B, T, 2, D), 3)])
def test_means_and_peaks_are_those_of_unmasked_positions(shape, axis):
    values, mask = sequences(shape)
    means, peaks = looped(values, mask, axis)
    received = unit_magnitudes(values, axis=axis, mask=mask)
    np.testing.assert_allclose(ops.convert_to_numpy(received), means, rtol=1e-5)
    received = unit_peaks(values, axis=axis, mask=mask)
    np.testing.assert_allclose(ops.convert_to_numpy(received), peaks, rtol=1e-6)
    received = position_means(ops.convert_to_tensor(np.abs(values)), axis=axis, mask=mask)
    np.testing.assert_allclose(ops.convert_to_numpy(received), means, rtol=1e-5)
    assert (means[4] == 0).all() and (means[3] > 0).any()


def test_nan_at_padding_is_not_seen():
    values, mask = sequences()
    values[~mask] = np.nan
    means, peaks = looped(values, mask)
    received = ops.convert_to_numpy(unit_magnitudes(values, mask=mask))
    np.testing.assert_allclose(received, means, rtol=1e-5)
    np.testing.assert_allclose(ops.convert_to_numpy(unit_peaks(values, mask=mask)), peaks)


def test_statistics_and_counts():
    values, mask = sequences()
    masked = MaskedActivation(values, mask)
    found = mk.ops.class_statistics(masked, LABELS, C)
    sums, nonzero, l1 = looped_statistics(values, mask)
    np.testing.assert_allclose(ops.convert_to_numpy(found.sums), sums, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(ops.convert_to_numpy(found.nonzero), nonzero)
    np.testing.assert_allclose(ops.convert_to_numpy(found.l1), l1, rtol=1e-5)
    _, peaks = looped(values, mask)
    for epsilon in (0.0, 0.8):
        counts = mk.ops.activation_frequency(masked, LABELS, C, epsilon=epsilon)
        expected = np.zeros((C, D))
        for row, label in zip(peaks, LABELS, strict=True):
            expected[label] += row > epsilon
        np.testing.assert_array_equal(ops.convert_to_numpy(counts), expected)


def test_objectives_beside_an_activation_without_mask():
    values, mask = sequences()
    plain = np.abs(np.random.default_rng(1).normal(size=(B, 6))).astype("float32")
    means, _ = looped(values, mask)
    loss = mk.MODALoss()
    received = loss.objectives([MaskedActivation(values, mask), plain], LABELS, C)
    expected = loss.objectives([means.astype("float32"), plain], LABELS, C)
    for name, value in expected.items():
        np.testing.assert_allclose(float(received[name]), float(value), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "axis"), [((B, T + 1), -1), ((B + 1, T), -1), ((B,), -1), ((B, T, D), -1)]
)
def test_mask_of_another_shape_is_refused(shape, axis):
    values, _ = sequences()
    mask = np.ones(shape, bool)
    with pytest.raises(ValueError, match=r"Expected a mask of shape \(batch, time\)"):
        mk.ops.activation_frequency(MaskedActivation(values, mask), LABELS, C, axis=axis)
    with pytest.raises(ValueError, match=r"Expected a mask of shape \(batch, time\)"):
        unit_magnitudes(values, mask=mask, axis=axis)


# ------------------------------------------------------------------------------------ in models

WORDS = np.array([[1, 2, 3, 4], [3, 1, 0, 0], [5, 0, 0, 0], [2, 2, 7, 0], [4, 6, 0, 0], [0] * 4])
CLASSES = np.array([0, 1, 2, 0, 1, 2])


def text_model(activation="relu"):
    keras.utils.set_random_seed(3)
    inputs = keras.Input((4,), dtype="int32")
    x = layers.Embedding(9, 6, mask_zero=True, name="words")(inputs)
    x = layers.Dense(D, activation=activation, name="each")(x)
    model = mk.ModularModel(inputs, layers.Dense(C)(layers.LSTM(3, name="state")(x)))
    model.get_layer("each").bias.assign([1.0, 0.0, -0.3, -0.1])  # active at padding
    return model


def activations(model, name="each"):
    layer = model.get_layer(name)
    return ops.convert_to_numpy(keras.Model(model.input, layer.output)(WORDS))


def test_decompose_counts_unmasked_positions():
    model = text_model()
    modules = mk.decompose(model, WORDS, CLASSES, epsilon=0.0, verbose=0, batch_size=4)
    _, peaks = looped(activations(model), WORDS != 0)
    expected = np.zeros((C, D))
    for row, label in zip(peaks, CLASSES, strict=True):
        expected[label] += row > 0
    np.testing.assert_array_equal(modules.activation_counts["each"], expected)
    assert expected[2, 0] == 1  # of two samples: one has no words


def test_training_objectives_are_those_of_unmasked_positions():
    model = text_model()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, modular_loss=mk.MODALoss())
    logs = model.evaluate(WORDS, CLASSES, batch_size=6, verbose=0, return_dict=True)
    means, _ = looped(activations(model), WORDS != 0)
    state = activations(model, "state")
    expected = mk.MODALoss().objectives([means.astype("float32"), state], CLASSES, C)
    for name, value in expected.items():
        assert logs[name] == pytest.approx(float(value), rel=1e-4, abs=1e-6)
    before = ops.convert_to_numpy(model.get_layer("each").kernel)
    model.fit(WORDS, CLASSES, batch_size=6, epochs=2, verbose=0)
    after = ops.convert_to_numpy(model.get_layer("each").kernel)
    assert np.isfinite(after).all() and not np.array_equal(before, after)


def test_epsilons_are_quantiles_over_unmasked_positions():
    model = text_model("tanh")
    epsilon = mk.choose_epsilons(model, WORDS, quantile=0.5, verbose=0)["each"]
    _, peaks = looped(activations(model), WORDS != 0)
    middle = np.sort(peaks.ravel())[peaks.size // 2 - 1]
    assert epsilon == pytest.approx(middle, rel=0.02)


@pytest.mark.skipif(BACKEND != "torch", reason="slow to compile; the same code on all backends")
@pytest.mark.parametrize("criterion", ["variance", "importance"])
def test_criteria_look_at_unmasked_positions(criterion):
    model = text_model("tanh")
    modules = mk.decompose(model, WORDS, CLASSES, criterion=criterion, epsilon=0.1, verbose=0)
    assert all(np.isfinite(each).all() for each in modules.importance.values())
    if criterion == "variance":
        values, mask = activations(model).astype("float64"), WORDS != 0
        received = modules.importance["each"]
        for c in range(C):
            first, second = [], []
            for b in np.flatnonzero(c == CLASSES):
                seen = values[b][mask[b]]
                first.append(seen.mean(axis=0) if len(seen) else np.zeros(D))
                second.append((seen**2).mean(axis=0) if len(seen) else np.zeros(D))
            variance = np.mean(second, axis=0) - np.mean(first, axis=0) ** 2
            ratio = received[c] / np.maximum(variance, 1e-12)
            norms = np.linalg.norm(model.get_layer("state").cell.kernel.numpy(), axis=1)
            np.testing.assert_allclose(ratio, norms, rtol=1e-2)  # sums in float32
