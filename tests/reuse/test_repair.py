"""Repair by calibration data, against loops in numpy and against the masked model."""

import keras
import numpy as np
import pytest
from keras import layers

import moda_keras as mk
from moda_keras.graph import trace
from moda_keras.reuse.repair import walk
from moda_keras.reuse.repair.least_squares import (
    BLOCK,
    RIDGES,
    CholeskyFactor,
    NormalEquations,
    ProductSums,
    Rows,
    find_correction,
    sums_of_rows,
)
from moda_keras.reuse.repair.projections import projection_of
from moda_keras.reuse.repair.rectified import Rectifier, auxiliary_output, refine

RNG = np.random.default_rng(0)


# --------------------------------------------------------------------------------- least squares


def ridge_solution(x, y, ridge, intercept):
    """Kernel and bias by the normal equations, one output after the other."""
    x_mean = x.mean(axis=0) if intercept else np.zeros(x.shape[1])
    centred = x - x_mean
    scale = np.mean([np.sum(column**2) for column in centred.T])
    kernel = np.zeros((x.shape[1], y.shape[1]))
    for output in range(y.shape[1]):
        mean = y[:, output].mean() if intercept else 0.0
        rows = np.concatenate([centred, np.sqrt(ridge * scale) * np.eye(x.shape[1])])
        targets = np.concatenate([y[:, output] - mean, np.zeros(x.shape[1])])
        kernel[:, output] = np.linalg.lstsq(rows, targets, rcond=None)[0]
    bias = y.mean(axis=0) - x_mean @ kernel if intercept else np.zeros(y.shape[1])
    return kernel, bias


def best_correction(x, y, folds, intercept):
    """The candidate with the smallest squared error on the samples held out."""
    nothing = np.zeros((x.shape[1], y.shape[1])), np.zeros(y.shape[1])

    def solve(x, y, candidate):
        if candidate is None:
            return nothing
        if candidate == np.inf:
            return nothing[0], y.mean(axis=0)
        return ridge_solution(x, y, candidate, intercept)

    errors = {}
    for candidate in (None, *RIDGES, *([np.inf] if intercept else [])):
        errors[candidate] = 0.0
        for fold in np.unique(folds):
            kernel, bias = solve(x[folds != fold], y[folds != fold], candidate)
            rest = y[folds == fold] - x[folds == fold] @ kernel - bias
            errors[candidate] += np.sum(rest**2)
    chosen = min(errors, key=errors.get)
    return (*solve(x, y, chosen), chosen)


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("samples", [8, 40, 400])
@pytest.mark.parametrize("noise", [0.0, 1.0, 30.0])
def test_correction_is_the_best_on_held_out_samples(samples, noise, intercept):
    random = np.random.default_rng(samples)
    x = random.normal(1.0, 1.0, (samples, 12)) @ random.normal(size=(12, 12))
    y = x @ random.normal(size=(12, 3)) + noise * random.normal(size=(samples, 3))
    folds = np.arange(samples) % 4
    sums = ProductSums(12, 3, 4)
    for fold in range(4):
        for rows in np.array_split(np.flatnonzero(folds == fold), 2):
            sums.add(fold, x[rows], y[rows])
    found = find_correction(sums, intercept=intercept)
    kernel, bias, ridge = best_correction(x, y, folds, intercept)
    assert found.ridge == ridge
    np.testing.assert_allclose(found.kernel, kernel, atol=1e-5 * max(1, np.abs(kernel).max()))
    np.testing.assert_allclose(found.bias, bias, atol=1e-5 * max(1, np.abs(bias).max()))


@pytest.mark.parametrize("size", [1, BLOCK - 1, BLOCK, 2 * BLOCK + 3])
def test_cholesky_factor_solves_as_numpy_does(size):
    random = np.random.default_rng(size)
    x = random.normal(size=(size + 5, size))
    matrix, right = x.T @ x + np.eye(size), random.normal(size=(size, 3))
    np.testing.assert_allclose(
        CholeskyFactor(matrix).solve(right), np.linalg.solve(matrix, right), rtol=1e-8, atol=1e-10
    )


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_inputs_that_never_change_correct_the_bias_alone(value):
    x, y = np.full((40, 3), value), np.random.default_rng(0).normal(5.0, 1.0, (40, 2))
    rows = Rows(x.astype("float32"), y, np.arange(40) % 4)
    sums = sums_of_rows(rows)
    found = find_correction(sums, intercept=True)
    np.testing.assert_allclose(x @ found.kernel + found.bias, np.tile(y.mean(axis=0), (40, 1)))
    rectifier = Rectifier(np.zeros_like(y), np.zeros_like(y), np.ones(2))
    refined = refine(rows, sums, rectifier, found, intercept=True)
    assert np.isfinite(refined.kernel).all() and np.isfinite(refined.bias).all()


def test_inputs_that_rounding_hides_are_not_solved_for():
    x = 1e9 + np.random.default_rng(0).normal(size=(40, 6))
    y = np.random.default_rng(1).normal(5.0, 1.0, (40, 2))
    sums = sums_of_rows(Rows(x, y, np.arange(40) % 4)).total(np.arange(4))
    equations = NormalEquations(sums, intercept=True)
    assert equations.factor(1e-4) is None
    np.testing.assert_allclose(equations.solve(1e-4).bias, y.mean(axis=0))


def test_noise_alone_corrects_nothing():
    random = np.random.default_rng(3)
    sums = ProductSums(50, 4, 4)
    for fold in range(4):
        sums.add(fold, random.normal(size=(2, 50)), random.normal(size=(2, 4)))
    found = find_correction(sums, intercept=True)
    assert found.ridge in (None, np.inf, 10.0)
    assert np.abs(found.kernel).max() < 0.1


# ----------------------------------------------------------------------------------- projections


def einsum(equation, output_shape, **options):
    return layers.EinsumDense(equation, output_shape, **options)


CHANNELS_LAST = [
    (layers.Dense(5), (6,)),
    (layers.Dense(5, use_bias=False), (4, 3, 6)),
    (layers.Conv1D(4, 3, padding="causal", dilation_rate=2), (9, 6)),
    (layers.Conv1D(4, 4, strides=3, padding="same"), (11, 6)),
    (layers.Conv2D(4, (3, 2), strides=2, padding="same"), (7, 8, 6)),
    (layers.Conv2D(6, 3, groups=3, padding="same"), (5, 6, 6)),
    (layers.Conv2D(4, 2, dilation_rate=(2, 1)), (6, 5, 3)),
    (layers.Conv3D(4, 2, strides=(1, 2, 1), padding="same"), (4, 5, 3, 2)),
    (einsum("abc,cde->abde", (None, 2, 3), bias_axes="de"), (5, 4)),
    (einsum("abde,dec->abc", (None, 4), bias_axes="c"), (5, 2, 3)),
]


@pytest.mark.parametrize("layer, shape", CHANNELS_LAST, ids=lambda value: str(value)[:40])
def test_projection_times_matrix_is_the_layer(layer, shape):
    layer = layer.from_config({**layer.get_config(), "bias_initializer": "random_normal"})
    model = keras.Sequential([keras.Input(shape), layer, layers.ReLU()])
    (step, _) = trace(model).steps
    projection = projection_of(layer, step)
    x = RNG.normal(size=(3, *shape)).astype("float32")
    expected = keras.ops.convert_to_numpy(layer(x))
    positions = projection.positions(expected.shape)
    chosen = np.argsort(RNG.random((3, positions)), axis=1)[:, : max(1, positions // 2)]
    kernel = keras.ops.convert_to_numpy(layer.kernel)
    matrix = projection.matrix(kernel)
    np.testing.assert_array_equal(projection.kernel(matrix), kernel)
    rows, targets = projection.rows(x, chosen), projection.grouped(projection.at(expected, chosen))
    bias = 0.0 if layer.bias is None else keras.ops.convert_to_numpy(layer.bias)
    for group in range(projection.groups):
        part = bias if np.ndim(bias) == 0 else bias.reshape(projection.groups, -1)[group]
        found = rows[group] @ matrix[group] + part
        np.testing.assert_allclose(found, targets[group], atol=1e-5)


def test_layers_that_are_no_projections_are_left_alone():
    class Doubled(layers.Dense):
        def call(self, inputs):
            return 2 * super().call(inputs)

    by_position = einsum("abc,abd->acd", (3, 4))  # sums over positions
    odd_bias = einsum("abc,cd->abd", (5, 4), bias_axes="bd")
    for layer, shape in [(Doubled(3), (4,)), (odd_bias, (5, 6)), (layers.LSTM(3), (4, 2))]:
        model = keras.Sequential([keras.Input(shape), layer])
        assert projection_of(layer, trace(model).steps[0]) is None
    assert by_position is not None


# ------------------------------------------------------------------------------------ whole models


def dense_model():
    image = keras.Input((6,))
    x = layers.Dense(16, activation="relu", name="first")(image)
    x = layers.Dense(12, activation="gelu", name="second")(x)
    return keras.Model(image, layers.Dense(4, activation="softmax")(x))


def residual_model():
    image = keras.Input((8, 8, 3))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(12, 3, use_bias=False)(image)))
    y = layers.Conv2D(12, 3, padding="same", use_bias=False)(x)
    y = layers.ReLU()(layers.BatchNormalization()(y))
    y = layers.BatchNormalization()(layers.Conv2D(12, 3, padding="same", use_bias=False)(y))
    x = layers.ReLU()(layers.Add()([y, x]))
    x = layers.Activation("tanh")(layers.Conv2D(10, 2, strides=2)(x))
    return keras.Model(image, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))


def separable_model():
    image = keras.Input((8, 8, 3))
    x = layers.ReLU()(layers.Conv2D(12, 3)(image))
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.Conv2D(8, 1, use_bias=False, activation="relu")(x)
    x = layers.Concatenate()([x, layers.Conv2D(8, 3, padding="same", groups=4)(x)])
    x = layers.ReLU()(layers.BatchNormalization()(x))
    return keras.Model(image, layers.Dense(4, activation="softmax")(layers.Flatten()(x)))


def attention_model():
    sequence = keras.Input((5, 8))
    x = layers.Add()([sequence, layers.MultiHeadAttention(4, 3)(sequence, sequence)])
    y = layers.Dense(16, activation="gelu")(layers.LayerNormalization()(x))
    x = layers.Add()([x, layers.Dense(8)(y)])
    return keras.Model(sequence, layers.Dense(4)(layers.GlobalAveragePooling1D()(x)))


MODELS = [dense_model, residual_model, separable_model, attention_model]
if keras.backend.backend() != "torch":  # what the others could change is how layers run
    MODELS = MODELS[:2]


def with_random_weights(make):
    keras.utils.set_random_seed(1)
    model = make()
    random = np.random.default_rng(1)
    for weight in model.weights:
        if len(weight.shape) == 1 and weight.name != "moving_variance":
            weight.assign(random.normal(0.0, 0.3, weight.shape) + (weight.name == "gamma"))
    return model


def half_of(model, share=0.5, seed=0):
    """Modules with a random half of all units."""
    random = np.random.default_rng(seed)
    units = {
        each.name: np.tile(random.permutation(each.units) < share * each.units, (4, 1))
        for each in mk.find_hidden_activations(model)
    }
    return mk.ModuleSet.from_units(model, units)


def samples(model, number, seed=0):
    shape = model.inputs[0].shape[1:]
    low = np.random.default_rng(seed).normal(size=(number, *shape[:-1], 2))
    mixing = np.random.default_rng(9).normal(size=(2, shape[-1]))
    noise = np.random.default_rng(seed + 1).normal(size=(number, *shape))
    return (low @ mixing + 0.3 * noise).astype("float32")


def outputs(model, x):
    return keras.ops.convert_to_numpy(model(x))


@pytest.mark.parametrize("align", [1, 4])
@pytest.mark.parametrize("make", MODELS)
def test_repaired_model_is_the_repaired_masked_model(make, align):
    model = with_random_weights(make)
    modules, x = half_of(model), samples(model, 48)
    small = mk.compose(modules, [2, 0], calibration_data=x, align=align)
    masked = mk.masked_model(modules, [2, 0], calibration_data=x)
    test = samples(model, 16, seed=5)
    expected = outputs(masked, test)
    assert np.abs(expected - outputs(mk.masked_model(modules, [2, 0]), test)).max() > 1e-3
    np.testing.assert_allclose(outputs(small, test), expected, atol=2e-4 * np.abs(expected).max())


def test_repaired_model_with_other_is_the_repaired_masked_model():
    model = with_random_weights(residual_model)
    modules, x = half_of(model), samples(model, 48)
    small, masked = (
        build(modules, [2, 0], calibration_data=x, other=True)
        for build in (mk.compose, mk.masked_model)
    )
    test = samples(model, 16, seed=5)
    expected = outputs(masked, test)
    assert small.output_shape == (None, 3)
    np.testing.assert_allclose(outputs(small, test), expected, atol=2e-4 * np.abs(expected).max())


@pytest.mark.parametrize("make", MODELS)
def test_repair_brings_the_logits_closer_to_the_original(make):
    model = with_random_weights(make)
    modules = half_of(model, share=0.7)
    x, test = samples(model, 256), samples(model, 256, seed=5)
    chosen = [2, 0, 1]
    original = mk.ModuleSet.from_units(model, {})
    expected = outputs(mk.compose(original, chosen, logits=True), test)

    def error(**options):
        small = mk.compose(modules, chosen, logits=True, **options)
        return np.mean((outputs(small, test) - expected) ** 2)

    assert error(calibration_data=x) < 0.7 * error()
    # Few samples never hurt.
    assert error(calibration_data=x[:8]) < 1.02 * error()


@pytest.mark.parametrize("make", MODELS)
def test_a_model_that_keeps_everything_stays_as_it_is(make):
    model = with_random_weights(make)
    modules = mk.ModuleSet.from_units(model, {})
    small = mk.compose(modules, [2, 0], calibration_data=samples(model, 8))
    expected = mk.compose(modules, [2, 0])
    for found, weight in zip(small.weights, expected.weights, strict=True):
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(found), keras.ops.convert_to_numpy(weight)
        )


def test_moments_give_normalizations_what_they_had():
    """Mean and variance behind the first normalization are those of the original's channels."""
    model = with_random_weights(residual_model)
    modules, x = half_of(model), samples(model, 64)
    build = {"classes": [2, 0], "calibration_data": x, "repair": "moments"}
    small, masked = mk.compose(modules, **build), mk.masked_model(modules, **build)
    expected = outputs(masked, x)
    np.testing.assert_allclose(outputs(small, x), expected, atol=2e-4 * np.abs(expected).max())
    for made in (model, masked):
        inner = keras.Model(made.inputs, made.get_layer(model.layers[5].name).output)
        inner = outputs(inner, x)[..., modules.units[model.layers[6].name][0]]
        moments = inner.mean(axis=(0, 1, 2)), inner.std(axis=(0, 1, 2))
        if made is model:
            wanted = moments
    np.testing.assert_allclose(moments, wanted, rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match="with batch normalizations"):
        mk.compose(half_of(dense_model()), [0], calibration_data=x, repair="moments")
    with pytest.raises(ValueError, match="`repair` to be one of"):
        mk.compose(modules, [0], calibration_data=x, repair="magic")


def test_every_layer_is_fitted_to_the_original_as_in_loops():
    model = with_random_weights(dense_model)
    modules, x = half_of(model), samples(model, 60)
    weights = [keras.ops.convert_to_numpy(weight).astype("float64") for weight in model.weights]
    (k1, b1, k2, b2, k3, b3) = weights
    first, second = (modules.units[name][0] for name in ("first", "second"))
    folds = np.arange(len(x)) % 4
    hidden = np.maximum(x @ k1 + b1, 0)
    sums2 = hidden @ k2 + b2

    def fitted(inputs, kernel, bias, wanted):
        rest = wanted - (inputs @ kernel + bias)
        change, shift, _ = best_correction(inputs, rest, folds, True)
        return kernel + change, bias + shift

    given = hidden[:, first]
    k2, b2 = fitted(given, k2[np.ix_(first, second)], b2[second], sums2[:, second])
    gelu = keras.activations.gelu
    as_numbers = keras.ops.convert_to_numpy
    before = as_numbers(gelu(keras.ops.convert_to_tensor(sums2.astype("float32"))))
    after = as_numbers(gelu(keras.ops.convert_to_tensor((given @ k2 + b2).astype("float32"))))
    chosen = [3, 1]
    wanted = (before @ k3 + b3)[:, chosen]
    k3, b3 = fitted(after.astype("float64"), k3[np.ix_(second, chosen)], b3[chosen], wanted)
    small = mk.compose(modules, chosen, calibration_data=x)
    expected = [k1[:, first], b1[first], k2, b2, k3, b3]
    for weight, values in zip(small.weights, expected, strict=True):
        np.testing.assert_allclose(keras.ops.convert_to_numpy(weight), values, atol=1e-4)


def test_last_summand_makes_up_for_the_others_and_its_norm_takes_the_shift():
    """The projection is fitted to the original's sum less what arrives, before its norm."""
    keras.utils.set_random_seed(2)
    image = keras.Input((6,))
    x = layers.Dense(16, activation="gelu", name="first")(image)
    norm = layers.BatchNormalization(name="norm")
    y = norm(layers.Dense(16, use_bias=False, name="second")(x))
    x = layers.Activation("tanh", name="third")(layers.Add()([y, x]))
    model = keras.Model(image, layers.Dense(4)(x))
    norm.gamma.assign(RNG.uniform(0.5, 2.0, 16))
    norm.moving_variance.assign(RNG.uniform(0.5, 2.0, 16))
    mask = np.arange(16) % 3 > 0
    modules = mk.ModuleSet.from_units(model, {"first": np.tile(mask, (4, 1))})
    data = samples(model, 60)
    inner = keras.Model(image, model.get_layer("first").output)
    hidden = outputs(inner, data).astype("float64")
    kernel = keras.ops.convert_to_numpy(model.get_layer("second").kernel).astype("float64")
    variance, gamma = (
        keras.ops.convert_to_numpy(weight).astype("float64")
        for weight in (norm.moving_variance, norm.gamma)
    )
    lacking = hidden * ~mask * np.sqrt(variance + norm.epsilon) / gamma
    rest = hidden @ kernel + lacking - hidden[:, mask] @ kernel[mask]
    change, shift, _ = best_correction(hidden[:, mask], rest, np.arange(60) % 4, True)
    small = mk.compose(modules, [0, 1], calibration_data=data)
    found = keras.ops.convert_to_numpy(small.get_layer("second").kernel)
    np.testing.assert_allclose(found, kernel[mask] + change, atol=1e-4)
    mean = keras.ops.convert_to_numpy(small.get_layer("norm").moving_mean)
    np.testing.assert_allclose(mean, -shift, atol=1e-4)
    assert np.abs(shift).max() > 1e-2


def test_projection_to_heads_before_a_relu_is_repaired():
    sequence = keras.Input((5, 8))
    x = layers.Dense(12, activation="relu")(sequence)
    x = einsum("abc,cde->abde", (None, 4, 3), bias_axes="de", activation="relu")(x)
    x = layers.GlobalAveragePooling1D()(layers.Reshape((5, 12))(x))
    model = keras.Model(sequence, layers.Dense(4)(x))
    modules, x = half_of(model), samples(model, 64)
    exact = outputs(model, x)[:, [2, 0]]
    errors = [
        np.mean((outputs(mk.compose(modules, [2, 0], **options), x) - exact) ** 2)
        for options in ({}, {"calibration_data": x})
    ]
    assert errors[1] < 0.5 * errors[0]


def test_layers_before_a_relu_are_refined(monkeypatch):
    model = with_random_weights(residual_model)
    modules, x = half_of(model), samples(model, 64)
    refined = outputs(mk.compose(modules, [2, 0], calibration_data=x), x)
    monkeypatch.setattr(walk, "refine", lambda rows, sums, relu, linear, intercept: linear)
    linear = outputs(mk.compose(modules, [2, 0], calibration_data=x), x)
    assert np.abs(refined - linear).max() > 1e-4


@pytest.mark.parametrize("build", [mk.compose, mk.masked_model])
def test_repair_without_data_is_refused(build):
    with pytest.raises(ValueError, match="`calibration_data` with repair='moments'"):
        build(half_of(with_random_weights(residual_model)), [0, 1], repair="moments")


def test_shared_layers_and_the_users_model_are_left_alone():
    image = keras.Input((6,))
    shared = layers.Dense(6, activation="relu", name="shared")
    x = shared(shared(image))
    model = keras.Model(image, layers.Dense(3)(x))
    before = [keras.ops.convert_to_numpy(weight).copy() for weight in model.weights]
    units = {each.name: np.arange(6) < 4 for each in mk.find_hidden_activations(model)}
    modules = mk.ModuleSet.from_units(model, {k: np.tile(v, (3, 1)) for k, v in units.items()})
    small = mk.compose(modules, [0, 1], calibration_data=samples(model, 32))
    plain = mk.compose(modules, [0, 1])
    kernel = small.get_layer("shared").kernel
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(kernel),
        keras.ops.convert_to_numpy(plain.get_layer("shared").kernel),
    )
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(weight), value)


# ------------------------------------------------------------------------------------------- data


def two_inputs():
    a, b = keras.Input((4,), name="a"), keras.Input((3,), name="b")
    x = layers.Dense(12, activation="relu", name="features")(layers.Concatenate()([a, b]))
    return keras.Model({"a": a, "b": b}, layers.Dense(4)(x))


def test_data_of_several_inputs_and_datasets_give_the_same():
    model = with_random_weights(two_inputs)
    modules = half_of(model)
    x = {"a": RNG.normal(size=(64, 4)), "b": RNG.normal(size=(64, 3))}
    x = {name: values.astype("float32") for name, values in x.items()}
    batches = [({k: v[i : i + 32] for k, v in x.items()}, np.zeros(32)) for i in (0, 32)]
    first = mk.compose(modules, [0, 1], calibration_data=x)
    second = mk.compose(modules, [0, 1], calibration_data=iter(batches))
    for one, other in zip(first.weights, second.weights, strict=True):
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(one), keras.ops.convert_to_numpy(other), atol=1e-6
        )


@pytest.mark.parametrize(
    "data, words",
    [
        (
            np.zeros((4, 5)),
            r"of the model's inputs, \[\(None, 6\)\]. Received: \[\(4, 5\)\]",
        ),
        (np.zeros((0, 6)), "at least 2 samples.*Received: 0"),
        (np.zeros((1, 6)), "at least 2 samples.*Received: 1"),
        (np.full((4, 6), np.nan), "finite `calibration_data`"),
        ((np.ones((4, 6)), np.ones(4)), "Leave labels out: pass `x`"),
        (0.5, "array of samples"),
        ([np.zeros((4, 6)), np.zeros((3, 6))], "one number of samples"),
        (iter(()), "at least 2 samples.*Received: 0"),
    ],
)
@pytest.mark.parametrize("build", [mk.compose, mk.masked_model])
def test_bad_calibration_data_is_refused(build, data, words):
    model = with_random_weights(dense_model)
    with pytest.raises(ValueError, match=words):
        build(half_of(model), [0, 1], calibration_data=data)


# ---------------------------------------------------------------------------------- before a ReLU


def test_auxiliary_output_is_the_best_of_a_fine_grid():
    random = np.random.default_rng(4)
    target, now, cut = random.normal(size=(3, 20, 4))
    cut[:, 0] = -np.inf
    grid = np.linspace(-6, 6, 24001)
    for pull in (0.1, 0.3, 1.0):
        found = auxiliary_output(np.maximum(target, cut), now, cut, pull)
        for place in np.ndindex(target.shape):

            def cost(z, place=place, pull=pull):
                missed = np.maximum(target[place], cut[place]) - np.maximum(z, cut[place])
                return missed**2 + pull * (z - now[place]) ** 2

            assert cost(found[place]) <= cost(grid).min() + 1e-6


@pytest.mark.parametrize("intercept", [True, False])
def test_what_the_relu_stops_costs_no_accuracy_elsewhere(intercept):
    random = np.random.default_rng(5)
    samples = 600
    x = random.normal(size=(samples, 8)).astype("float32")
    before = x @ random.normal(size=(8, 3)).astype("float32")
    sign = np.array([1.0, -1.0, 1.0])
    rectifier = Rectifier(before, np.zeros((samples, 3), "float32"), sign)
    wanted = x @ random.normal(size=(8, 3)) + 0.5 * intercept
    # Where the ReLU gives zero, the target is far from linear.
    stopped = wanted * rectifier.sign < 0
    target = np.where(stopped, wanted - 5 * rectifier.sign * random.random(wanted.shape), wanted)
    rows = Rows(x, target - rectifier.before, np.arange(samples) % 4)
    sums = sums_of_rows(rows)
    linear = find_correction(sums, intercept=intercept)
    found = refine(rows, sums, rectifier, linear, intercept=intercept)

    def error(correction):
        given = rectifier.before + x @ correction.kernel + correction.bias
        missed = np.maximum(target * rectifier.sign, 0) - np.maximum(given * rectifier.sign, 0)
        return np.mean(missed**2)

    assert error(found) < 0.5 * error(linear)
