"""The output for "none of these", against loops over classes and the masked model."""

import keras
import numpy as np
import pytest
from keras import layers
from masking import inputs_for, randomize, relative_difference, run
from small_models import cnn, inputs_of, mlp, random_modules, trainable_parameters

import moda_keras as mk


def probabilities(logits):
    """Softmax with loops, in float64."""
    result = np.zeros(logits.shape)
    for sample, row in enumerate(logits.astype("float64")):
        total = sum(np.exp(z - max(row)) for z in row)
        for j, z in enumerate(row):
            result[sample, j] = np.exp(z - max(row)) / total
    return result


def lumped(all_probabilities, chosen):
    """The chosen classes' probabilities, and the sum of all others'."""
    samples, classes = all_probabilities.shape
    result = np.zeros((samples, len(chosen) + 1))
    for sample in range(samples):
        for label in range(classes):
            position = chosen.index(label) if label in chosen else len(chosen)
            result[sample, position] += all_probabilities[sample, label]
    return result


def behind_softmax(activation):
    """A model of 5 classes whose softmax is part of its last layer, a layer, an operation, ..."""
    inputs = keras.Input((4,), name="x")
    x = layers.Dense(12, activation="relu", name="units")(inputs)
    logits = layers.Dense(
        5, name="head", activation=activation if activation == "softmax" else None
    )
    x = logits(x)
    if activation == "layer":
        x = layers.Softmax()(x)
    elif activation == "operation":
        x = keras.ops.softmax(x)
    elif activation == "log_softmax":
        x = layers.Activation("log_softmax")(x)
    return randomize(keras.Model(inputs, x))


def masked_logits(modules, chosen):
    """All logits of the original with the units outside the modules zeroed by hand."""
    hidden, head = (modules.model.get_layer(name).get_weights() for name in ("units", "head"))
    kept = [any(modules.units["units"][c, i] for c in chosen) for i in range(12)]

    def logits(x):
        values = np.maximum(x.astype("float64") @ hidden[0] + hidden[1], 0) * kept
        return values @ head[0] + head[1]

    return logits


@pytest.mark.parametrize("activation", ["softmax", "layer", "operation", "log_softmax", "none"])
@pytest.mark.parametrize("build", [mk.masked_model, mk.compose])
def test_probability_of_other_is_the_sum_of_the_dropped_classes(build, activation):
    modules = random_modules(behind_softmax(activation))
    x, chosen = inputs_of(modules.model, 6), [3, 0]
    expected = lumped(probabilities(masked_logits(modules, chosen)(x)), chosen)
    received = run(build(modules, chosen, other=True), [x])
    if activation == "log_softmax":
        received = np.exp(received)
    elif activation == "none":
        received = probabilities(received)
    np.testing.assert_allclose(received, expected, rtol=1e-4)


@pytest.mark.parametrize(("chosen", "align"), [([2], 1), ([1, 3], 4), ([3, 0, 2], 1)])
def test_composed_model_is_the_masked_one(chosen, align):
    modules = random_modules(cnn(activation="softmax"))
    x = inputs_for(modules.model)
    expected = run(mk.masked_model(modules, chosen, other=True), x)
    small = mk.compose(modules, chosen, other=True, align=align, name="pets")
    assert relative_difference(run(small, x), expected) < 1e-5
    assert small.name == "pets" and small.output_shape == (None, len(chosen) + 1)


def test_chosen_classes_are_as_without_other():
    modules = random_modules(mlp(5))
    x, chosen = inputs_for(modules.model), [4, 1, 0]
    logits = run(mk.compose(modules, chosen, other=True, logits=True), x)
    np.testing.assert_allclose(logits[:, :3], run(mk.compose(modules, chosen), x), rtol=1e-5)


def test_model_is_plain_keras_and_one_head_larger(tmp_path):
    modules = random_modules(mlp(5))
    small = mk.compose(modules, [1, 4], other=True, other_data=4 * inputs_of(modules.model, 64))
    head = modules.union([1, 4])["second"].sum() + 1
    plain = mk.compose(modules, [1, 4])
    assert trainable_parameters(small) == trainable_parameters(plain) + 3 * head
    packages = {type(each).__module__.partition(".")[0] for each in small.operations}
    assert packages == {"keras"}
    small.save(tmp_path / "small.keras")
    loaded, x = keras.saving.load_model(tmp_path / "small.keras"), inputs_of(small, 4)
    np.testing.assert_allclose(run(loaded, [x]), run(small, [x]), rtol=1e-5)


def test_one_class_against_all_others_is_not_constant(recwarn):
    modules = random_modules(mlp(4))
    logits = run(mk.compose(modules, [2], other=True), inputs_for(modules.model))
    assert logits.shape == (3, 2)
    softmax = random_modules(behind_softmax("softmax"))
    scores = run(mk.compose(softmax, [2], other=True), inputs_for(softmax.model))
    assert np.ptp(scores[:, 0]) > 0
    assert not [each for each in recwarn if "constant" in str(each.message)]


def test_names_of_layers_of_the_original_do_not_matter():
    inputs = keras.Input((4,), name="other_logit")
    x = layers.Dense(6, activation="relu", name="logits_with_other")(inputs)
    x = layers.Dense(6, activation="relu", name="kept_units")(x)
    model = keras.Model(inputs, layers.Dense(4, name="chosen_logits")(x), name="all_units")
    modules = random_modules(randomize(model))
    data = inputs_of(model, 50)
    for build in (mk.masked_model, mk.compose):
        assert build(modules, [1, 2], other=True).output_shape == (None, 3)
    small = mk.compose(modules, [1, 2], other=True, other_data=data, name="other_logit_1")
    again = random_modules(small)  # as any model, it can be decomposed and composed itself
    x = inputs_for(small)
    expected = run(mk.masked_model(again, [2, 0], other=True), x)
    assert relative_difference(run(mk.compose(again, [2, 0], other=True), x), expected) < 1e-5


def test_structure_of_inputs_and_output_stays():
    image, extra = keras.Input((4,), name="image"), keras.Input((2,), name="extra")
    x = layers.Dense(6, activation="relu", name="units")(layers.Concatenate()([image, extra]))
    scores = layers.Dense(4, activation="softmax", name="scores")(x)
    model = keras.Model({"image": image, "extra": extra}, {"scores": scores})
    modules = random_modules(randomize(model))
    x = np.random.default_rng(0).normal(0, 4, (40, 6)).astype("float32")
    x = {"image": x[:, :4], "extra": x[:, 4:]}
    small = mk.compose(modules, [3, 1], other=True, other_data=x)
    assert small(x)["scores"].shape == (40, 3)


@pytest.mark.parametrize("form", ["argument", "layer", "cast"])
def test_mixed_precision_keeps_the_dtype_of_the_outputs(form):
    inputs, options = keras.Input((4,)), {"dtype": "mixed_float16"}
    x = layers.Dense(6, activation="relu", name="units", **options)(inputs)
    x = layers.Dense(4, activation="softmax" if form == "argument" else None, **options)(x)
    if form != "argument":
        x = layers.Softmax(**options)(x)
    if form == "cast":
        x = layers.Activation("linear", dtype="float32")(x)
    modules = random_modules(randomize(keras.Model(inputs, x)))
    small = mk.compose(modules, [0, 2], other=True)
    assert small.outputs[0].dtype == mk.compose(modules, [0, 2]).outputs[0].dtype
    scores = small(inputs_for(small)[0])
    assert keras.backend.standardize_dtype(scores.dtype) == small.outputs[0].dtype
    np.testing.assert_allclose(keras.ops.convert_to_numpy(scores).sum(axis=1), 1, atol=5e-3)


@pytest.mark.parametrize("build", [mk.masked_model, mk.compose])
def test_sigmoid_outputs_are_refused_in_words(build):
    modules = random_modules(mlp(4))
    inputs = modules.model.inputs
    for activation, word in [("sigmoid", "output activation 'sigmoid'"), ("relu", "'relu'")]:
        outputs = layers.Activation(activation)(modules.model.outputs[0])
        other = random_modules(keras.Model(inputs, outputs))
        with pytest.raises(ValueError, match=f"(?s)outputs are logits.*{word}.*without `other`"):
            build(other, [0, 2], other=True)
    scaled = layers.Rescaling(2.0, name="scaled")(layers.Softmax()(modules.model.outputs[0]))
    with pytest.raises(ValueError, match="goes on after its 'softmax'"):
        build(random_modules(keras.Model(inputs, scaled)), [0, 2], other=True)
    cold = layers.Activation(lambda z: keras.ops.softmax(z / 2.0))(modules.model.outputs[0])
    with pytest.raises(ValueError, match="outputs are logits"):
        build(random_modules(keras.Model(inputs, cold)), [0, 2], other=True)


@pytest.mark.parametrize("build", [mk.masked_model, mk.compose])
def test_other_of_all_classes_is_refused(build):
    modules = random_modules(mlp(4))
    with pytest.raises(ValueError, match=r"all 4 classes. Leave out `other`"):
        build(modules, [3, 1, 0, 2], other=True)
    with pytest.raises(ValueError, match="Expected `other` to be True or False"):
        build(modules, [1], other=np.ones(3))
