"""Trains and decomposes on one device and on several; prints how far apart. Run by a test."""
# The number of devices must be set before anything of JAX.
# ruff: noqa: E402

import json
import os
import sys

WORKERS = int(sys.argv[1])
os.environ["KERAS_BACKEND"] = "jax"
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={WORKERS}"

import keras
import numpy as np
from keras import distribution

import moda_keras as mk

X = np.random.default_rng(0).normal(size=(128, 8)).astype("float32")
Y = (np.arange(128) * 7 % 10).astype("int32")


def model_parallel():
    mesh = distribution.DeviceMesh(
        (WORKERS // 2, 2), ("batch", "model"), distribution.list_devices()
    )
    layout = distribution.LayoutMap(mesh)
    layout[".*wide.*kernel"] = (None, "model")
    layout[".*wide.*bias"] = ("model",)
    return distribution.ModelParallel(layout_map=layout, batch_dim_name="batch")


def train(chosen):
    distribution.set_distribution(chosen)
    try:
        keras.utils.set_random_seed(1)
        inputs = keras.Input((8,))
        x = keras.layers.Dense(16, activation="relu", name="wide")(inputs)
        x = keras.layers.Dense(12, activation="relu", name="narrow")(x)
        model = mk.ModularModel(inputs, keras.layers.Dense(10)(x))
        start = [np.array(each) for each in model.get_weights()]
        task_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.1), task_loss, modular_loss=mk.MODALoss(alpha=3.0))
        model.fit(X, Y, batch_size=32, epochs=5, verbose=0, shuffle=False)
        modules = mk.decompose(model, X, Y, batch_size=32, threshold=0.6, verbose=0)
        small = mk.compose(modules, [1, 4]).predict(X, batch_size=32, verbose=0)
        weights = [np.array(each) for each in model.get_weights()]
        counts = {name: table.tolist() for name, table in modules.activation_counts.items()}
        return start, weights, counts, np.array(small)
    finally:
        distribution.set_distribution(None)


def distance(first, second):
    squares = [np.square(a - b).sum() for a, b in zip(first, second, strict=True)]
    return float(np.sqrt(np.sum(squares)))


start, alone, counts, outputs = train(None)
found = {}
for name, make in {"data": distribution.DataParallel, "model": model_parallel}.items():
    _, weights, of_all, small = train(make())
    found[name] = {
        "error": distance(alone, weights) / distance(alone, start),
        "counts": of_all == counts,
        "composed": float(np.abs(small - outputs).max()),
    }
found["devices"] = len(distribution.list_devices())
print(json.dumps(found))
