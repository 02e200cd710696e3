"""What thresholds do to the modules of `small_models.mlp`, in NumPy, threshold by threshold."""

import itertools

import keras
import numpy as np
from small_models import inputs_of, mlp

import moda_keras as mk

NAMES = ["first", "second"]


def labelled_mlp(samples=72, classes=3, flipped=0.15, seed=0):
    """A model, and inputs with the labels that it gives, but for some that are flipped."""
    model = mlp(classes)
    rng = np.random.default_rng(seed)
    x = inputs_of(model, 40 * samples, seed)
    head = model.get_layer("logits")
    scores = keras.ops.convert_to_numpy(model(x, training=False))
    # No class is far more likely than another.
    head.bias.assign(head.bias - np.median(scores, axis=0))
    found = keras.ops.convert_to_numpy(model(x, training=False)).argmax(axis=1)
    chosen = np.concatenate(
        [np.flatnonzero(found == label)[: samples // classes] for label in range(classes)]
    )
    chosen = rng.permutation(chosen)
    noise = rng.integers(classes, size=len(chosen))
    y = np.where(rng.random(len(chosen)) < flipped, noise, found[chosen])
    assert len(chosen) == samples
    return model, x[chosen], y


def all_subtasks(classes=3):
    return [
        each for k in range(2, classes + 1) for each in itertools.combinations(range(classes), k)
    ]


def logits(model, x, masks):
    """The mlp at full size, units set to zero."""
    values = np.asarray(x, "float64")
    for layer in ("first", "second"):
        kernel, bias = model.get_layer(layer).get_weights()
        values = np.maximum(values @ kernel + bias, 0) * masks[layer]
    kernel, bias = model.get_layer("logits").get_weights()
    return values @ kernel + bias


def accuracy(modules, subtask, x, y):
    """Reuse accuracy by the meaning of a module."""
    masks = {
        name: np.any([units[c] for c in subtask], axis=0) for name, units in modules.units.items()
    }
    return _accuracy(logits(modules.model, x, masks), subtask, y)


def full_accuracy(model, subtask, x, y):
    return _accuracy(logits(model, x, dict.fromkeys(NAMES, 1.0)), subtask, y)


def _accuracy(scores, subtask, y):
    right = [
        subtask[int(np.argmax(row[list(subtask)]))] == label
        for row, label in zip(scores, y, strict=True)
        if label in subtask
    ]
    return np.mean(right)


def losses(modules, subtasks, x, y):
    """Per sub-task what the composed model loses."""
    return np.array(
        [
            full_accuracy(modules.model, each, x, y) - accuracy(modules, each, x, y)
            for each in subtasks
        ]
    )


def mean_size(modules):
    return float(np.nanmean(mk.metrics.module_size(modules)))


def every_threshold(modules):
    """All frequencies, and what is above them."""
    values = {float(v) for table in modules.frequency.values() for v in table.reshape(-1)}
    return sorted({*values, 0.0, 1.0})
