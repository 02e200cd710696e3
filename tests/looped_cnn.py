"""`small_models.cnn` in float64, position by position: what methods must agree with."""

import keras
import numpy as np

NAMES = ("relu1", "conv2", "fc")  # its hidden activations
MAPS = NAMES[:2]


def run(model, x, masks=None):
    """The hidden activations (N, ..., D) by name, after the masks, and the logits (N, C)."""
    masks = masks or {}
    found = {}
    for layer, name in (("conv1", "relu1"), ("conv2", "conv2")):
        x = np.maximum(_convolved(x, *_weights(model, layer)), 0)
        x = found[name] = x * np.asarray(masks.get(name, 1.0), "float64")
    x = x.reshape(len(x), -1)
    x = np.maximum(_dense(x, *_weights(model, "fc")), 0)
    x = found["fc"] = x * np.asarray(masks.get("fc", 1.0), "float64")
    return found, _dense(x, *_weights(model, "logits"))


def mean_magnitudes(model, x, y, classes):
    """For each hidden activation an array (C, D): means over a class's samples and positions."""
    found, _ = run(model, x)
    tables = {}
    for name, values in found.items():
        table = tables[name] = np.zeros((classes, values.shape[-1]))
        for label in range(classes):
            for unit in range(values.shape[-1]):
                samples = [values[i, ..., unit] for i in range(len(y)) if y[i] == label]
                table[label, unit] = np.mean([np.abs(each).mean() for each in samples])
    return tables


def _weights(model, name):
    return [w.astype("float64") for w in model.get_layer(name).get_weights()]


def _convolved(x, kernel, bias):
    rows, columns, _, units = kernel.shape
    height, width = x.shape[1] - rows + 1, x.shape[2] - columns + 1
    found = np.zeros((len(x), height, width, units))
    for i in range(height):
        for j in range(width):
            patch = x[:, i : i + rows, j : j + columns].astype("float64")
            for unit in range(units):
                found[:, i, j, unit] = (patch * kernel[..., unit]).sum(axis=(1, 2, 3)) + bias[unit]
    return found


def _dense(x, kernel, bias):
    found = np.zeros((len(x), len(bias)))
    for unit in range(len(bias)):
        found[:, unit] = (x.astype("float64") * kernel[:, unit]).sum(axis=1) + bias[unit]
    return found


def cnn_of_own_filters(classes=3, each=3, threshold=0.0):
    """A model whose class c has the filters `each * c` to `each * c + each - 1`, and its data.

    Images of class c are bright in channel c, which those filters alone read. Logit c is their
    mean, about 1 on images of class c and 0.1 on others, above the threshold: at 0.8 a class needs
    all of its filters.
    """
    units = classes * each
    owner = np.repeat(np.arange(classes), each)
    model = keras.Sequential(
        [
            keras.Input((5, 5, classes)),
            keras.layers.Conv2D(units, 3, activation="relu", name="filters"),
            keras.layers.Flatten(),
            keras.layers.Dense(classes, activation="relu", name="features"),
            keras.layers.Dense(classes, name="logits"),
        ]
    )
    random = np.random.default_rng(0)
    kernel = np.zeros((3, 3, classes, units))
    kernel[:, :, owner, np.arange(units)] = random.uniform(0.09, 0.11, (3, 3, units))
    mean = np.zeros((3, 3, units, classes))
    mean[:, :, np.arange(units), owner] = 1 / (9 * each)
    bias = np.full(classes, -threshold)
    dense = [mean.reshape(-1, classes), bias, np.eye(classes), np.zeros(classes)]
    model.set_weights([kernel, np.zeros(units), *dense])
    y = np.arange(10 * classes) % classes
    x = random.uniform(0, 0.3, (len(y), 5, 5, classes))
    x[np.arange(len(y)), :, :, y] += 1.0
    return model, x.astype("float32"), y, owner[None] == np.arange(classes)[:, None]
