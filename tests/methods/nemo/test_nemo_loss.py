"""The contrast and its gradient against loops over pairs; batches without pairs; serialization."""

import math

import keras
import numpy as np
import oracles
import pytest
from differentiation import value_and_gradients

import moda_keras as mk
from moda_keras.methods import nemo

AGAINST = ("samples", "classes")
KINDS = [("samples", "infonce"), ("samples", "released"), ("classes", "infonce"),
         ("classes", "released")]  # fmt: skip


def mean_vector(vectors, samples):
    """The mean of the vectors, each divided by its norm."""
    total = [0.0] * len(vectors[0])
    for i in samples:
        length = oracles.norm(vectors[i])
        for d, value in enumerate(vectors[i]):
            total[d] += value / length / len(samples) if length else 0.0
    return total


def similarity(vectors, classes, i, j, c, against):
    if against == "samples":
        return oracles.cosine(vectors[i], vectors[j])
    length = oracles.norm(vectors[i])
    products = zip(vectors[i], mean_vector(vectors, classes[c]), strict=True)
    return sum(a * b for a, b in products) / length if length else 0.0


def contrast_of_activation(vectors, classes, temperature, against, form):
    losses = []
    for c, samples in enumerate(classes):
        for i in samples:
            own = other = 0.0
            for d, others in enumerate(classes):
                for j in others:
                    s = similarity(vectors, classes, i, j, d, against)
                    own += math.exp(s / temperature) if c == d else float(form == "released")
                    other += math.exp(s / temperature) if c != d else float(form == "released")
            losses.append(-math.log(own / (own + other)))
    return sum(losses) / len(losses) if losses else 0.0


def expected(activations, labels, classes, weight=None, axes=None, *, temperature, against, form):
    members = oracles.members(labels, classes, weight)
    axes = axes or [-1] * len(activations)
    values = [
        contrast_of_activation(
            oracles.activation_vectors(each, axis), members, temperature, against, form
        )
        for each, axis in zip(activations, axes, strict=True)
    ]
    return sum(values) / len(values)


def batch(seed=0):
    """A vector and a map with the units first, some all zero, one sample of weight 0."""
    random = np.random.default_rng(seed)
    vectors, maps = random.normal(size=(7, 4)), random.normal(size=(7, 3, 2, 2))
    vectors[2], maps[4] = 0, 0
    labels = np.array([0, 2, 0, 1, 2, 2, 0])
    weight = np.array([1, 1, 1, 1, 0.5, 0, 1.0])
    return [vectors.astype("float32"), maps.astype("float32")], labels, weight


@pytest.mark.parametrize(("against", "form"), KINDS)
@pytest.mark.parametrize("temperature", [0.2, 1.5])
def test_contrast_and_gradient_equal_the_loops(against, form, temperature):
    activations, labels, weight = batch()
    options = {"temperature": temperature, "against": against, "form": form}
    loss = nemo.NeMoLoss(1.7, **options)

    def of_tensors(tensors):
        return loss(tensors, labels, 4, sample_weight=weight, axes=[-1, 1])

    value, gradients = value_and_gradients(of_tensors, activations)
    assert value == pytest.approx(
        1.7 * expected(activations, labels, 4, weight, [-1, 1], **options), rel=1e-5
    )
    for index, gradient in enumerate(gradients):

        def of_array(array, index=index):
            replaced = [array if i == index else a for i, a in enumerate(activations)]
            return 1.7 * expected(replaced, labels, 4, weight, [-1, 1], **options)

        numeric = oracles.numeric_gradient(of_array, activations[index])
        zero = np.linalg.norm(activations[index].reshape(7, -1), axis=1) == 0
        numeric[zero] = 0  # the direction of an all-zero vector jumps
        np.testing.assert_allclose(gradient, numeric, atol=5e-6)
        assert np.abs(gradient).max() > 1e-3


def test_similar_class_means_stand_for_their_samples():
    """Where the samples of a class are alike, both forms are the same."""
    random = np.random.default_rng(0)
    prototypes = np.abs(random.normal(size=(3, 5)))
    labels = np.array([0, 1, 1, 2, 2, 2])
    activations = [(prototypes[labels] * random.uniform(1, 3, (6, 1))).astype("float32")]
    pairs, means = (float(nemo.NeMoLoss(against=each)(activations, labels, 3)) for each in AGAINST)
    assert pairs == pytest.approx(means, rel=1e-5)


@pytest.mark.parametrize("against", AGAINST)
@pytest.mark.parametrize(
    ("samples", "labels", "weight"),
    [
        (3, [1, 1, 1], None),
        (1, [2], None),
        (3, [0, 1, 2], [0.0, 0.0, 0.0]),
        (3, [0, 1, 2], [0.0, 1.0, 0.0]),
    ],
    ids=["one class", "one sample", "no weight", "one sample with weight"],
)
def test_batch_without_negatives_gives_zero_with_zero_gradient(against, samples, labels, weight):
    activations = [np.random.default_rng(0).normal(size=(samples, 4)).astype("float32")]
    loss = nemo.NeMoLoss(against=against)

    def of_tensors(tensors):
        return loss(tensors, np.array(labels), 3, sample_weight=weight and np.array(weight))

    value, gradients = value_and_gradients(of_tensors, activations)
    assert value == 0
    assert (gradients[0] == 0).all()


@pytest.mark.parametrize(("against", "form"), KINDS)
def test_empty_batch_gives_zero(against, form):
    loss = nemo.NeMoLoss(against=against, form=form)
    value, gradients = value_and_gradients(
        lambda tensors: loss(tensors, np.zeros(0, "int32"), 3), [np.zeros((0, 4), "float32")]
    )
    assert value == 0
    assert gradients[0].shape == (0, 4)


@pytest.mark.parametrize("against", AGAINST)
@pytest.mark.parametrize("temperature", [0.002, 1e3])
def test_extreme_temperatures_stay_finite(against, temperature):
    activations, labels, _ = batch()
    loss = nemo.NeMoLoss(temperature=temperature, against=against)
    value, gradients = value_and_gradients(
        lambda tensors: loss(tensors, labels, 3, axes=[-1, 1]), activations
    )
    assert np.isfinite(value)
    assert all(np.isfinite(each).all() for each in gradients)


def test_samples_without_weight_do_not_matter():
    activations, labels, weight = batch()
    loss = nemo.NeMoLoss()
    there = float(loss(activations, labels, 3, sample_weight=weight, axes=[-1, 1]))
    counted = weight != 0
    left = [each[counted] for each in activations]
    assert there == pytest.approx(float(loss(left, labels[counted], 3, axes=[-1, 1])), rel=1e-6)
    assert there != pytest.approx(float(loss(activations, labels, 3, axes=[-1, 1])), rel=1e-3)


def test_one_hot_labels_are_those_of_integers():
    activations, labels, _ = batch()
    loss, one_hot = nemo.NeMoLoss(), np.eye(3, dtype="float32")[labels]
    options = {"num_classes": 3, "axes": [-1, 1]}
    assert float(loss(activations, one_hot, **options)) == float(
        loss(activations, labels, **options)
    )


def test_config_round_trips():
    loss = nemo.NeMoLoss(0.08, 0.3, against="classes", form="released")
    config = keras.saving.serialize_keras_object(loss)
    again = keras.saving.deserialize_keras_object(config)
    assert isinstance(again, nemo.NeMoLoss)
    assert again.get_config() == loss.get_config()
    assert again.weights == {"contrast": 0.08}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("alpha", -1.0),
        ("alpha", "1"),
        ("alpha", True),
        ("temperature", 0),
        ("temperature", math.inf),
        ("temperature", math.nan),
        ("against", "pairs"),
        ("form", None),
    ],
)
def test_wrong_argument_is_named(name, value):
    with pytest.raises(ValueError, match=f"Expected `{name}`.*Received: {name}="):
        nemo.NeMoLoss(**{name: value})


def test_wrong_labels_are_refused():
    with pytest.raises(ValueError, match="labels from 0 to 2"):
        nemo.NeMoLoss().objectives([np.ones((2, 3), "float32")], [0, 3], 3)
    with pytest.raises(ValueError, match="at least one activation"):
        nemo.NeMoLoss().objectives([], [0, 1], 3)


def test_training_lowers_the_similarity_of_classes():
    pytest.importorskip("sklearn")
    digits = mk.datasets.load("digits")
    x, y = digits.x_train[:400].reshape(400, -1), digits.y_train[:400]

    def dispersion_after(loss):
        keras.utils.set_random_seed(0)
        plain = keras.Sequential(
            [
                keras.Input((64,)),
                keras.layers.Dense(32, activation="relu", name="features"),
                keras.layers.Dense(10),
            ]
        )
        model = mk.ModularModel.from_model(plain)
        task = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(0.01), task, modular_loss=loss)
        history = model.fit(x, y, epochs=6, batch_size=64, verbose=0).history
        probe = keras.Model(model.inputs, model.hidden_activations[0].tensor)
        return history, float(mk.MODALoss().objectives([probe(x)], y, 10)["dispersion"])

    history, with_loss = dispersion_after(nemo.NeMoLoss())
    assert history["contrast"][-1] < 0.8 * history["contrast"][0]
    assert with_loss < 0.8 * dispersion_after(None)[1]


def test_contrast_sets_in_as_the_task_is_learned_with_a_warmup():
    recognised, not_recognised = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[0.0, 1], [1, 0]])
    assert nemo.NeMoLoss().training_factor([0, 1], not_recognised) == 1.0
    loss = nemo.NeMoLoss.from_config(nemo.NeMoLoss(warmup="accuracy").get_config())
    assert float(loss.training_factor([0, 1], not_recognised)) == 0.0
    assert float(loss.training_factor([0, 1], recognised)) == 1.0
