import keras
import numpy as np
import pytest
from keras import layers
from masking import randomize
from small_models import inputs_of, mlp, random_modules, run_in_fresh_process

import moda_keras as mk
from moda_keras.graph import keep_whole

WEAK_CLASSES = 4


def weak_network(activation=None):
    """With layers that behave differently in training."""
    inputs = keras.Input((4,), name="features")
    x = layers.Dense(7, name="dense")(inputs)
    x = layers.BatchNormalization(momentum=0.5, name="norm")(x)
    x = layers.Dropout(0.5, name="dropout")(layers.ReLU(name="relu")(x))
    outputs = layers.Dense(WEAK_CLASSES, activation=activation, name="head")(x)
    return randomize(keras.Model(inputs, outputs, name="weak"), seed=4)


@pytest.fixture(scope="module")
def weak():
    return weak_network()


@pytest.fixture(scope="module")
def strong():
    return random_modules(mlp(classes=6))


@pytest.fixture(scope="module")
def x(weak):
    return inputs_of(weak, 12)


def outputs_of(model, x):
    return keras.ops.convert_to_numpy(model(x, training=False))


def dense(model, name, x):
    kernel, bias = model.get_layer(name).get_weights()
    return x @ kernel + bias


def weak_logits(model, x):
    """The weak model in numpy, up to its logits."""
    gamma, beta, mean, variance = model.get_layer("norm").get_weights()
    epsilon = model.get_layer("norm").epsilon
    value = gamma * (dense(model, "dense", x) - mean) / np.sqrt(variance + epsilon) + beta
    return dense(model, "head", np.maximum(value, 0))


def strong_logit(modules, c, x):
    """The masked strong model in numpy, up to logit c."""
    for name in ("first", "second"):
        x = np.maximum(dense(modules.model, name, x), 0) * modules.units[name][c]
    return dense(modules.model, "logits", x)[:, c]


def softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def replaced_logits(weak, modules, c, target, x):
    logits = weak_logits(weak, x)
    logits[:, target] = strong_logit(modules, c, x)
    return logits


def close(received, expected):
    np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-5)
    return True


# ---------------------------------------------------------------------- what the patched model is


@pytest.mark.parametrize("target", [0, 1, WEAK_CLASSES - 1, np.int64(2)])
def test_before_training_one_logit_is_replaced(weak, strong, x, target):
    patched = mk.replace(weak, strong[5], target_class=target)
    assert close(outputs_of(patched, x), replaced_logits(weak, strong, 5, target, x))
    assert patched.output_shape == (None, WEAK_CLASSES)
    assert patched.name == "weak_replaced"


def test_module_is_smaller_than_its_model(weak, strong):
    patched = mk.replace(weak, strong[5], target_class=1, name="patched")
    assert patched.name == "patched"
    kernel = patched.get_layer("strong_module").get_layer("first").kernel
    assert kernel.shape[1] == strong[5].units["first"].sum() < 6


def test_only_the_calibration_is_trainable(weak, strong):
    patched = mk.replace(weak, strong[5], target_class=1)
    paths = [weight.path for weight in patched.trainable_weights]
    assert paths == ["calibration/kernel", "calibration/bias"]
    np.testing.assert_array_equal(patched.get_layer("calibration").get_weights()[0], np.eye(4))


def test_weak_model_with_softmax_gives_probabilities(strong, x):
    weak = weak_network("softmax")
    patched = mk.replace(weak, strong[0], target_class=2)
    received = outputs_of(patched, x)
    assert close(received, softmax(replaced_logits(weak, strong, 0, 2, x)))
    assert close(received.sum(axis=1), np.ones(len(x)))


@pytest.mark.parametrize("softmax_layer", [layers.Softmax(name="probabilities"), keras.ops.softmax])
def test_softmax_of_its_own(weak, strong, x, softmax_layer):
    with_softmax = keras.Model(weak.inputs[0], softmax_layer(weak.outputs[0]))
    patched = mk.replace(with_softmax, strong[0], target_class=2)
    assert close(outputs_of(patched, x), softmax(replaced_logits(weak, strong, 0, 2, x)))


def test_logit_of_a_strong_model_is_taken_before_its_softmax(weak, strong, x):
    model = mlp(classes=6, activation="relu")
    inputs = model.inputs[0]
    model = keras.Model(inputs, layers.Softmax()(model.outputs[0]))
    modules = mk.ModuleSet.from_units(model, strong.units)
    patched = mk.replace(weak, modules[3], target_class=0)
    assert close(outputs_of(patched, x), replaced_logits(weak, strong, 3, 0, x))


def test_maps_of_another_architecture():
    image = keras.Input((6, 6, 2))
    flat = layers.Flatten()(image)
    weak = randomize(keras.Model(image, layers.Dense(3, name="head")(flat)))
    x = layers.Conv2D(5, 3, activation="relu", name="conv")(image)
    x = layers.GlobalAveragePooling2D()(x)
    modules = random_modules(randomize(keras.Model(image, layers.Dense(2)(x)), seed=7))
    patched = mk.replace(weak, modules[1], target_class=0)
    data = inputs_of(weak, 5)
    expected = outputs_of(weak, data).copy()
    expected[:, 0] = outputs_of(mk.masked_model(modules, [1]), data)[:, 0]
    assert close(outputs_of(patched, data), expected)


def test_several_inputs():
    def network(names, classes, seed):
        inputs = [keras.Input((n,), name=name) for n, name in zip((3, 2), names, strict=True)]
        hidden = layers.Dense(5, activation="relu", name="hidden")(layers.Concatenate()(inputs))
        return randomize(keras.Model(inputs, layers.Dense(classes)(hidden)), seed=seed)

    weak, strong = network("ab", 3, 0), random_modules(network("cd", 2, 1))
    patched = mk.replace(weak, strong[0], target_class=1)
    rng = np.random.default_rng(0)
    data = [rng.normal(size=(4, n)).astype("float32") for n in (3, 2)]
    expected = outputs_of(weak, data).copy()
    expected[:, 1] = outputs_of(mk.masked_model(strong, [0]), data)[:, 0]
    assert close(outputs_of(patched, data), expected)


# ---------------------------------------------------------------------------------- calibration


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_range_of_logits_that_are_not_finite_is_refused(value, weak, strong, x):
    wrong = np.copy(x)
    wrong[0, 0] = value
    with pytest.raises(ValueError, match="Expected finite logits for all samples in `x`"):
        mk.replace(weak, strong[1], 1, strategy="normalize", x=wrong)


@pytest.fixture(scope="module")
def fitted():
    """A weak model that mistakes class 2, patched with the module of a strong model and fitted."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    labels = np.arange(240) % WEAK_CLASSES
    centers = 2 * np.eye(4, dtype="float32")
    data = (centers[labels] + 0.4 * rng.normal(size=(240, 4))).astype("float32")
    weak = weak_network("softmax")
    dense_layer, norm, head = (weak.get_layer(n) for n in ("dense", "norm", "head"))
    # Units 0 to 3 see features 0 to 3; the head reads all but that of class 2.
    dense_layer.set_weights([np.eye(4, 7, dtype="float32"), np.zeros(7, "float32")])
    norm.set_weights([np.ones(7), np.zeros(7), np.zeros(7), np.ones(7)])
    kernel = 3 * np.eye(7, 4, dtype="float32")
    kernel[2] = 0
    head.set_weights([kernel, np.zeros(4, "float32")])
    strong_model = mlp(classes=2)
    first, second, logits = (strong_model.get_layer(n) for n in ("first", "second", "logits"))
    first.set_weights([np.eye(4, 6, dtype="float32"), np.zeros(6, "float32")])
    second.set_weights([np.eye(6, 5, dtype="float32"), np.zeros(5, "float32")])
    kernel = np.zeros((5, 2), "float32")
    kernel[2, 1], kernel[[0, 1, 3], 0] = 0.5, 0.5
    logits.set_weights([kernel, np.zeros(2, "float32")])
    units = {"first": np.array([[1, 1, 0, 1, 0, 0], [0, 0, 1, 0, 0, 0]], bool)}
    strong = mk.ModuleSet.from_units(strong_model, units)
    weak.compile("sgd", "sparse_categorical_crossentropy")
    patched = mk.replace(weak, strong[1], target_class=2)
    before = {layer: patched.get_layer(layer).get_weights() for layer in FROZEN}
    patched.compile(keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy")
    loss = patched.evaluate(data, labels, verbose=0)
    patched.fit(data, labels, epochs=4, batch_size=48, verbose=0)
    return {
        "weak": weak,
        "strong": strong_model,
        "patched": patched,
        "before": before,
        "loss": loss,
        "data": (data, labels),
    }


FROZEN = ["weak_model", "strong_module"]


def recall(model, data, labels, target):
    predicted = outputs_of(model, data).argmax(axis=1)
    return float((predicted == labels)[labels == target].mean())


def test_fitting_improves_the_target_class(fitted):
    data, labels = fitted["data"]
    assert recall(fitted["weak"], data, labels, 2) < 0.3
    assert recall(fitted["patched"], data, labels, 2) > 0.9
    for other in (0, 1, 3):
        assert recall(fitted["patched"], data, labels, other) > 0.9
    assert fitted["patched"].evaluate(data, labels, verbose=0) < fitted["loss"]


def test_frozen_parts_do_not_move(fitted):
    patched = fitted["patched"]
    for name in FROZEN:
        for old, new in zip(
            fitted["before"][name], patched.get_layer(name).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(old, new)
    kernel, bias = patched.get_layer("calibration").get_weights()
    assert np.abs(kernel - np.eye(4)).max() > 0.01
    assert np.abs(bias).max() > 0.01


def test_dropout_is_off_while_the_rest_trains(fitted):
    data, _ = fitted["data"]
    in_training = keras.ops.convert_to_numpy(fitted["patched"](data, training=True))
    np.testing.assert_allclose(in_training, outputs_of(fitted["patched"], data), rtol=1e-6)


def test_originals_keep_weights_flags_and_compilation(strong, x):
    weak = weak_network()
    weak.compile("adam", "mse")
    strong.model.compile("sgd", "mse")
    states = [snapshot(model) for model in (weak, strong.model)]
    patched = mk.replace(weak, strong[1], target_class=0)
    patched.compile("sgd", "mse")
    patched.fit(x, np.zeros((len(x), 4)), epochs=1, verbose=0)
    for model, (weights, flags, optimizer) in zip((weak, strong.model), states, strict=True):
        for old, new in zip(weights, model.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)
        assert [layer.trainable for layer in model.layers] == flags
        assert model.trainable
        assert model.optimizer is optimizer
        assert model.compiled


def snapshot(model):
    weights = [w.copy() for w in model.get_weights()]
    return weights, [layer.trainable for layer in model.layers], model.optimizer


def test_patched_model_is_plain_keras(fitted, tmp_path):
    data, labels = fitted["data"]
    fitted["patched"].save(tmp_path / "patched.keras")
    np.savez(tmp_path / "data.npz", x=data, y=labels)
    code = (
        "import sys, numpy as np, keras\n"
        "model = keras.saving.load_model(sys.argv[1])\n"
        "data = np.load(sys.argv[2])\n"
        "frozen = model.get_layer('weak_model').get_weights()\n"
        "outputs = keras.ops.convert_to_numpy(model(data['x'], training=False))\n"
        "model.fit(data['x'], data['y'], epochs=1, batch_size=48, verbose=0)\n"
        "after = model.get_layer('weak_model').get_weights()\n"
        "assert all((a == b).all() for a, b in zip(frozen, after, strict=True))\n"
        "assert [w.path for w in model.trainable_weights] == "
        "['calibration/kernel', 'calibration/bias']\n"
        "assert not any(name.startswith('moda_keras') for name in sys.modules)\n"
        "np.save(sys.argv[3], outputs)\n"
    )
    files = [tmp_path / name for name in ("patched.keras", "data.npz", "outputs.npy")]
    run_in_fresh_process(code, *files)
    assert close(np.load(files[2]), outputs_of(fitted["patched"], data))


# ------------------------------------------------------------------------------------ normalize


def test_normalize_scales_the_logits_of_both_models(strong, x):
    weak = weak_network("softmax")
    patched = mk.replace(weak, strong[5], target_class=1, strategy="normalize", x=x, batch_size=4)
    logits, logit = weak_logits(weak, x), strong_logit(strong, 5, x)
    logits = (logits - logits.min()) / (logits.max() - logits.min())
    logits[:, 1] = (logit - logit.min()) / (logit.max() - logit.min())
    assert close(outputs_of(patched, x), softmax(logits))
    assert patched.trainable_weights == []


def test_normalize_where_a_logit_is_constant(weak, strong, x):
    model = mlp(classes=6)
    model.get_layer("logits").set_weights([np.zeros((5, 6)), np.full(6, 3.0)])
    modules = mk.ModuleSet.from_units(model, strong.units)
    patched = mk.replace(weak, modules[0], target_class=1, strategy="normalize", x=x)
    assert close(outputs_of(patched, x)[:, 1], np.zeros(len(x)))


def test_normalize_needs_inputs(weak, strong):
    with pytest.raises(ValueError, match="`x`"):
        mk.replace(weak, strong[5], target_class=1, strategy="normalize")


# --------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("target", [-1, WEAK_CLASSES, 1.0, "1", None, True])
def test_target_that_is_no_class_of_the_weak_model(weak, strong, target):
    with pytest.raises(ValueError, match="`target_class` from 0 to 3"):
        mk.replace(weak, strong[5], target_class=target)


def test_unknown_strategy(weak, strong):
    with pytest.raises(ValueError, match=r"calibrate.*Received: strategy='average'"):
        mk.replace(weak, strong[5], target_class=1, strategy="average")


def test_something_else_than_a_module(weak, strong):
    for wrong in (strong, strong.model, 3):
        with pytest.raises(ValueError, match="`strong_module` to be a Module"):
            mk.replace(weak, wrong, target_class=1)


def test_inputs_of_other_shapes(weak):
    modules = random_modules(mlp(inputs=5))
    with pytest.raises(ValueError, match=r"\(None, 4\).*\(None, 5\)"):
        mk.replace(weak, modules[0], target_class=1)


def test_weak_model_that_cannot_be_read(strong):
    inputs = keras.Input((4,))
    two = keras.Model(inputs, [layers.Dense(3)(inputs), layers.Dense(2)(inputs)])
    with pytest.raises(ValueError, match="2 outputs"):
        mk.replace(two, strong[0], target_class=0)
    with pytest.raises(ValueError, match="not built yet"):
        mk.replace(keras.Sequential([layers.Dense(3)]), strong[0], target_class=0)


def test_class_without_samples_has_no_module_to_give(weak):
    counts = {"first": np.ones((3, 6)), "second": np.ones((3, 5))}
    modules = mk.ModuleSet.from_counts(mlp(), counts, [1, 0, 1])
    with pytest.raises(ValueError, match="had none"):
        mk.replace(weak, modules[1], target_class=0)


class Unconfigured(layers.Layer):
    """Its constructor takes what its config does not tell."""

    def __init__(self, size):
        super().__init__(name="unconfigured")
        self.size = size

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], self.size), name="kernel")

    def call(self, inputs):
        return keras.ops.matmul(inputs, self.kernel)


keep_whole(Unconfigured)


def test_layer_that_cannot_be_copied_is_not_frozen_in_its_owner(strong):
    inputs = keras.Input((4,))
    hidden = layers.ReLU()(Unconfigured(5)(inputs))
    weak = keras.Model(inputs, layers.Dense(WEAK_CLASSES)(hidden))
    with pytest.raises(ValueError, match="'unconfigured'"):
        mk.replace(weak, strong[1], target_class=0)
    assert weak.get_layer("unconfigured").trainable
