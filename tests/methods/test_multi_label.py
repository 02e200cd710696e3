"""Samples that are in any number of classes."""

import keras
import numpy as np
import pytest
from keras import layers
from small_models import cnn, inputs_of, mlp, random_modules

import moda_keras as mk

SAMPLES = 20


def rows_of(samples, classes, seed=0):
    """Multi-hot rows, among them one of no class and one of all."""
    rows = (np.random.default_rng(seed).random((samples, classes)) < 0.4).astype("int32")
    rows[0], rows[1] = 0, 1
    return rows


def decompose(model, x, y=None, **arguments):
    arguments = {"batch_size": 8, "multi_label": True, **arguments}
    return mk.decompose(model, x, y, verbose=0, **arguments)


@pytest.fixture(scope="module")
def model():
    return mlp()


@pytest.fixture(scope="module")
def x(model):
    return inputs_of(model, SAMPLES)


def loop_counts(model, names, x, rows, sample_weight=None):
    """How many samples of each class activate each unit, by loops; and the class sizes."""
    probe = keras.Model(model.inputs, [model.get_layer(name).output for name in names])
    values = [keras.ops.convert_to_numpy(v) for v in keras.tree.flatten(probe(x, training=False))]
    classes = rows.shape[1]
    weights = np.ones(len(x)) if sample_weight is None else sample_weight
    sizes = [
        sum(rows[b, c] == 1 and weights[b] != 0 for b in range(len(x))) for c in range(classes)
    ]
    tables = {}
    for name, of_layer in zip(names, values, strict=True):
        table = np.zeros((classes, of_layer.shape[-1]), int)
        for c in range(classes):
            for b in range(len(x)):
                if rows[b, c] == 1 and weights[b] != 0:
                    for unit in range(of_layer.shape[-1]):
                        table[c, unit] += bool(np.any(of_layer[b, ..., unit] != 0))
        tables[name] = table
    return tables, sizes


def check(modules, expected, sizes):
    np.testing.assert_array_equal(modules.sample_counts, sizes)
    for name, table in expected.items():
        np.testing.assert_array_equal(modules.activation_counts[name], table)
        assert table.min() < table.max()


@pytest.mark.parametrize("dtype", ["bool", "float32"])
def test_sample_counts_in_every_class_of_its_row(dtype, model, x):
    rows = rows_of(SAMPLES, 3)
    modules = decompose(model, x, rows.astype(dtype))
    check(modules, *loop_counts(model, ["first", "second"], x, rows))
    assert modules.sample_counts.sum() != SAMPLES


def test_maps_weights_and_datasets():
    model = cnn()
    model.get_layer("conv1").bias.assign(np.full(5, -2.5, "float32"))
    x, rows = inputs_of(model, SAMPLES), rows_of(SAMPLES, 4)
    weight = (np.arange(SAMPLES) % 3).astype("float32")
    expected, sizes = loop_counts(model, ["relu1", "conv2", "fc"], x, rows, weight)
    check(decompose(model, x, rows, sample_weight=weight), expected, sizes)

    def batches():
        for start in range(0, SAMPLES, 6):
            rows_ = slice(start, start + 6)
            yield x[rows_], rows[rows_], weight[rows_]

    check(decompose(model, batches(), batch_size=None, epsilon=0.0), expected, sizes)


def test_rows_of_one_class_each_are_one_hot(model, x):
    labels = np.arange(SAMPLES) % 3
    several = decompose(model, x, np.eye(3, dtype=int)[labels])
    one = decompose(model, x, labels, multi_label=False)
    for name, counts in one.activation_counts.items():
        np.testing.assert_array_equal(several.activation_counts[name], counts)
    np.testing.assert_array_equal(several.sample_counts, one.sample_counts)


def test_composed_model_keeps_the_sigmoids_of_the_chosen_logits(x, tmp_path):
    model = mlp()
    sigmoid = layers.Activation("sigmoid")(model.outputs[0])
    model = keras.Model(model.inputs[0], sigmoid)
    modules = decompose(model, x, rows_of(SAMPLES, 3), threshold=0.7)
    modules.save(tmp_path / "several.modules")
    modules = mk.load_modules(tmp_path / "several.modules")
    for classes in ([2, 0], [1]):
        small, masked = mk.compose(modules, classes), mk.masked_model(modules, classes)
        logits = mk.compose(modules, classes, logits=True).predict(x, verbose=0)
        scores = small.predict(x, verbose=0)
        np.testing.assert_allclose(scores, masked.predict(x, verbose=0), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(scores, 1 / (1 + np.exp(-logits)), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.arange(SAMPLES) % 3, r"multi-hot labels of shape \(batch, 3\)"),
        (np.zeros((SAMPLES, 2), int), r"multi-hot labels of shape \(batch, 3\)"),
        (np.full((SAMPLES, 3), 0.5), r"rows of 0 and 1. Received: 20 of 20 rows"),
        (np.full((SAMPLES, 3), 2), "rows of 0 and 1. Received: 20 of 20 rows"),
        (np.zeros((SAMPLES, 3), int), "at least one training sample"),
    ],
)
def test_other_labels_are_refused(labels, message, model, x):
    with pytest.raises(ValueError, match=message):
        decompose(model, x, labels)


def test_other_labels_in_a_dataset_are_refused(model, x):
    batches = ((x[i : i + 4], np.full((4, 3), float(i == 4) / 2)) for i in range(0, 12, 4))
    with pytest.raises(ValueError, match=r"rows of 0 and 1\. Received: data with 4 rows"):
        decompose(model, batches, batch_size=None, epsilon=0.0)


def test_softmax_is_of_one_class_a_sample(x):
    inner = mlp()
    model = keras.Model(inner.inputs[0], layers.Softmax()(inner.outputs[0]))
    with pytest.raises(ValueError, match="ends in 'softmax': one class a sample"):
        decompose(model, x, rows_of(SAMPLES, 3))


def test_what_needs_one_class_a_sample_says_so(model, x):
    rows, modules = rows_of(SAMPLES, 3), random_modules(model)
    message = r"decompose\(..., multi_label=True\)` alone"
    with pytest.raises(ValueError, match=message):
        mk.decompose(model, x, rows, verbose=0)
    with pytest.raises(ValueError, match=message):
        mk.metrics.reuse_accuracy(modules, [0, 1], x, rows)
    with pytest.raises(ValueError, match=message):
        decompose(model, x, rows).tune_threshold(x, rows)
    modular = mk.ModularModel.from_model(model)
    modular.compile("sgd", "binary_crossentropy", modular_loss=mk.MODALoss())
    with pytest.raises(ValueError, match=message):
        modular.fit(x, rows, verbose=0)
