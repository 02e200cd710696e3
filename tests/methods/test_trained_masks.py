"""Masks in training: the straight-through gradient, logits, heads, and the whole loss."""

import keras
import mask_oracle
import numpy as np
import pytest
from keras import ops
from small_models import cnn, inputs_of

import moda_keras as mk
from moda_keras.methods.gradsplitter import GradSplitter, composed_loss
from moda_keras.methods.mask_training import batches
from moda_keras.methods.seam import SeaM, reengineering_loss
from moda_keras.methods.straight_through import binarize
from moda_keras.methods.trained_masks import Heads, LogitGroups, ModuleTraining, TrainedMasks
from moda_keras.ops.backends import backend
from moda_keras.slicing import Slicer

SCORES = np.array([[0.5, -0.1, 0.0], [1e-9, -3.0, 2.0]], "float32")


def test_gradient_goes_straight_through_and_is_clipped():
    weights = np.array([[0.3, -0.4, 2.0], [-5.0, 0.9, 0.0]], "float32")

    def function(values):
        masks = binarize(values[0])
        return ops.sum(ops.multiply(masks, weights)), [masks]

    (gradient,), (masks,) = backend.gradients(function, [ops.convert_to_tensor(SCORES)])
    for row in range(2):
        for column in range(3):
            assert ops.convert_to_numpy(masks)[row, column] == float(SCORES[row, column] > 0)
            expected = min(max(weights[row, column], -1.0), 1.0)
            assert ops.convert_to_numpy(gradient)[row, column] == np.float32(expected)


def trained_masks(model, units):
    modules = len(next(iter(units.values())))
    masks = TrainedMasks(Slicer(model), list(units), modules)
    for variable, table in zip(masks.scores, units.values(), strict=True):
        variable.assign(np.where(table, 0.5, -0.5))
    return masks


def test_logits_are_those_of_the_masked_models():
    model = cnn(activation="softmax")
    random = np.random.default_rng(0)
    units = {h.name: random.random((3, h.units)) < 0.6 for h in mk.find_hidden_activations(model)}
    x = inputs_of(model, 5)
    received = trained_masks(model, units).predict_on_batch(np.concatenate([x] * 3))
    for module in range(3):
        of_one = {name: np.tile(table[module], (4, 1)) for name, table in units.items()}
        modules = mk.ModuleSet.from_units(model, of_one)
        expected = mk.masked_model(modules, range(4)).predict_on_batch(x)
        of_module = received[5 * module : 5 * module + 5]
        softmax = ops.convert_to_numpy(ops.softmax(of_module))
        np.testing.assert_allclose(softmax, expected, rtol=1e-4, atol=1e-6)


def test_channels_first_maps_are_masked_along_their_channels():
    if keras.backend.backend() == "tensorflow":
        pytest.skip("TensorFlow has no channels_first convolutions on CPUs")
    image = keras.Input((2, 4, 4))
    x = keras.layers.Conv2D(
        3, 2, activation="relu", data_format="channels_first", name="conv", bias_initializer="ones"
    )(image)
    x = keras.layers.GlobalAveragePooling2D(data_format="channels_first")(x)
    model = keras.Model(image, keras.layers.Dense(2)(x))
    masks = trained_masks(model, {"conv": np.array([[True, False, True]] * 2)})
    x = inputs_of(model, 2)
    modules = mk.ModuleSet.from_units(model, {"conv": np.array([[True, False, True]] * 2)})
    expected = mk.masked_model(modules, [0, 1]).predict_on_batch(x)
    received = masks.predict_on_batch(np.concatenate([x, x]))[:2]
    np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-6)


def test_only_scores_are_trained_and_the_model_stays_trainable():
    model = cnn()
    masks = TrainedMasks(Slicer(model), ["relu1"], 2)
    assert [tuple(each.shape) for each in masks.trainable_variables] == [(2, 5)]
    assert all(layer.trainable for layer in model.layers)


def test_logit_groups_are_log_sum_exps_of_their_classes():
    members = np.zeros((2, 3, 2), bool)
    members[0, 0, 0] = members[0, 1:, 1] = members[1, 2, 0] = members[1, :2, 1] = True
    logits = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    received = ops.convert_to_numpy(LogitGroups(members)(logits))
    for row in range(4):
        own, others = (0, [1, 2]) if row < 2 else (2, [0, 1])
        expected = [logits[row, own], np.log(np.exp(logits[row, others].astype("float64")).sum())]
        np.testing.assert_allclose(received[row], expected, rtol=1e-5)


def test_composed_loss_is_that_of_loops():
    random = np.random.default_rng(0)
    outputs, labels, shares = random.normal(size=(5, 4)), random.integers(4, size=5), np.arange(4)
    expected = sum(mask_oracle.cross_entropy(*pair) for pair in zip(outputs, labels, strict=True))
    expected = expected / 5 + 0.3 * (0 + 1 + 2 + 3) / 4
    arguments = outputs.astype("float32"), labels, shares.astype("float32")
    assert float(composed_loss(*arguments, 0.3)) == pytest.approx(expected, rel=1e-5)


def test_reengineering_loss_is_that_of_loops():
    random = np.random.default_rng(0)
    outputs, labels = random.normal(size=(3, 5, 2)), random.integers(2, size=(3, 5))
    shares = random.random(3)
    expected = 0.0
    for search in range(3):
        losses = [
            mask_oracle.cross_entropy(outputs[search, i], labels[search, i]) for i in range(5)
        ]
        expected += np.mean(losses) + 0.7 * shares[search]
    arguments = outputs.astype("float32"), labels, shares.astype("float32")
    assert float(reengineering_loss(*arguments, 0.7)) == pytest.approx(expected, rel=1e-5)


ALPHA = 0.4
X = np.random.default_rng(3).normal(0.3, 1, (4, 4, 4, 2)).astype("float32")
Y = np.array([0, 1, 2, 1])


def oracle_loss(method, model, masks, heads):
    """masks: one array (S, D) for each convolution; heads: for each module (kernel, bias) pairs."""
    modules = range(mask_oracle.CLASSES)
    weights = mask_oracle.weights_of(model)
    total = sum(mask.shape[1] for mask in masks)
    shares = [sum(mask[s].sum() for mask in masks) / total for s in modules]

    def output(module, x):
        logits = mask_oracle.masked_logits(weights, x, [mask[module] for mask in masks])
        return mask_oracle.head_output(logits, heads[module])

    if method == "gradsplitter":
        losses = []
        for x, label in zip(X, Y, strict=True):
            outputs = np.array([mask_oracle.sigmoid(output(s, x)[0]) for s in modules])
            losses.append(mask_oracle.cross_entropy(outputs, label))
        return np.mean(losses) + ALPHA * np.mean(shares)
    loss = 0.0
    for module in modules:
        losses = [
            mask_oracle.cross_entropy(output(module, x), int(label != module))
            for x, label in zip(X, Y, strict=True)
        ]
        loss += np.mean(losses) + ALPHA * shares[module]
    return loss


@pytest.mark.parametrize("method", ["gradsplitter", "seam"])
def test_loss_and_gradients_are_those_of_loops(method):
    """A step of gradient descent shows the gradient; the oracle's is by finite differences."""
    model = mask_oracle.tiny_cnn()
    random = np.random.default_rng(1)
    search, sizes = GradSplitter(alpha=ALPHA), (3, 10, 1)
    if method == "seam":
        search, sizes = SeaM(alpha=ALPHA), (3, 2)
    outputs = Heads(3, sizes)
    for weight in outputs.weights:
        weight.assign(random.normal(0, 0.7, weight.shape))
    units = {"conv1": random.random((3, 3)) < 0.7, "conv2": random.random((3, 2)) < 0.7}
    masks = trained_masks(model, units)
    training = ModuleTraining(masks, outputs, 3, search.loss)
    training.compile(keras.optimizers.SGD(1.0))
    heads = [
        [
            tuple(ops.convert_to_numpy(each)[s].astype("float64") for each in pair)
            for pair in outputs.parameters
        ]
        for s in range(3)
    ]
    heads = [[(kernel, bias[0]) for kernel, bias in head] for head in heads]
    binary = [table.astype("float64") for table in units.values()]
    expected = oracle_loss(method, model, binary, heads)
    before = [ops.convert_to_numpy(each).copy() for each in masks.scores]
    labels = (
        np.tile(Y, 3)
        if method == "gradsplitter"
        else np.array([[c != own for c in Y] for own in range(3)]).reshape(-1)
    )
    received = training.train_on_batch(np.concatenate([X] * 3), labels.astype("int32"))
    assert float(received) == pytest.approx(expected, rel=1e-5)
    for index, table in enumerate(binary):
        steps = before[index] - ops.convert_to_numpy(masks.scores[index])
        for place in np.ndindex(table.shape):
            sides = []
            for shift in (1e-5, -1e-5):
                moved = [each.copy() for each in binary]
                moved[index][place] += shift
                sides.append(oracle_loss(method, model, moved, heads))
            slope = (sides[0] - sides[1]) / 2e-5
            assert steps[place] == pytest.approx(slope, rel=1e-3, abs=2e-6)


@pytest.mark.parametrize(("samples", "size"), [(10, 4), (4, 4), (3, 8), (130, 128), (1, 1)])
def test_batches_have_one_size_and_cover_all_samples(samples, size):
    found = list(batches(samples, size))
    assert len({len(each) for each in found}) == 1 and len(found[0]) <= size
    assert len(found) == -(-samples // size)
    assert set(np.concatenate(found)) == set(range(samples))
