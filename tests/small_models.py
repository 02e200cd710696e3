"""Small models with random weights, and data for them."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
from keras import layers
from masking import randomize

import moda_keras as mk

BACKEND = keras.backend.backend()


def mlp(classes=3, activation="relu", inputs=4, **head):
    model = keras.Sequential(
        [
            keras.Input((inputs,)),
            layers.Dense(6, activation=activation, name="first"),
            layers.Dense(5, activation=activation, name="second"),
            layers.Dense(classes, name="logits", **head),
        ],
        name="mlp",
    )
    return randomize(model)


def cnn(classes=4, **head):
    """Two convolutions and a dense layer on 6x6 images of two channels."""
    image = keras.Input((6, 6, 2), name="image")
    x = layers.Conv2D(5, 3, name="conv1")(image)
    x = layers.ReLU(name="relu1")(x)
    x = layers.Conv2D(4, 2, activation="relu", name="conv2")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(7, activation="relu", name="fc")(x)
    return randomize(
        keras.Model(image, layers.Dense(classes, name="logits", **head)(x), name="cnn")
    )


def random_modules(model, seed=0, fraction=0.5):
    """Modules with at least one unit in every activation."""
    rng = np.random.default_rng(seed)
    classes = model.output_shape[-1]
    units = {}
    for hidden in mk.find_hidden_activations(model):
        table = rng.random((classes, hidden.units)) < fraction
        table[np.arange(classes), rng.integers(hidden.units, size=classes)] = True
        units[hidden.name] = table
    return mk.ModuleSet.from_units(model, units)


def inputs_of(model, samples, seed=1):
    rng = np.random.default_rng(seed)
    return rng.normal(0.3, 1.0, (samples, *model.input_shape[1:])).astype("float32")


def trainable_parameters(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def run_in_fresh_process(code, *arguments):
    """Runs Python code on this backend, and gives what it printed."""
    root = Path(mk.__file__).parents[1]
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(root), "KERAS_BACKEND": BACKEND},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout
