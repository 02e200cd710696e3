"""Trains on one device and on several; prints how far the weights are apart. Run by a test."""

import contextlib
import json
import os
import sys

os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow as tf

import moda_keras as mk

WORKERS = int(sys.argv[1])
X = np.random.default_rng(0).normal(size=(128, 6, 6, 1)).astype("float32")
# Few samples of each class: a worker's part has none of some, and next to no pairs.
Y = (np.arange(128) * 7 % 10).astype("int32")


def no_task(labels, outputs):
    return 0.0 * keras.ops.mean(outputs, axis=-1)


def train(strategy, loss, samples=128, task_loss=None, is_dense=False):
    with strategy.scope() if strategy else contextlib.nullcontext():
        keras.utils.set_random_seed(1)
        inputs = keras.Input((36,) if is_dense else (6, 6, 1))
        x = inputs
        if not is_dense:
            x = keras.layers.Conv2D(8, 3, activation="relu")(x)
            x = keras.layers.Flatten()(x)
        x = keras.layers.Dense(12, activation="relu")(x)
        model = mk.ModularModel(inputs, keras.layers.Dense(10)(x))
        start = model.get_weights()
        task_loss = task_loss or keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.1), task_loss, modular_loss=loss)
    x_of_shape = X[:samples].reshape(-1, *inputs.shape[1:])
    data = tf.data.Dataset.from_tensor_slices((x_of_shape, Y[:samples])).batch(32)
    history = model.fit(data, epochs=5, verbose=0, shuffle=False).history
    return start, model.get_weights(), {name: values[-1] for name, values in history.items()}


def distance(first, second):
    squares = [np.square(a - b).sum() for a, b in zip(first, second, strict=True)]
    return float(np.sqrt(np.sum(squares)))


devices = [tf.config.LogicalDeviceConfiguration()] * WORKERS
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
strategy = tf.distribute.MirroredStrategy([f"CPU:{index}" for index in range(WORKERS)])
found = {}
losses = {
    "constant weights": lambda: mk.MODALoss(warmup=None),
    "warm-up": lambda: mk.MODALoss(alpha=3.0),
    "mask loss": lambda: mk.methods.mwt.MwTLoss(),
    "each replica": lambda: mk.MODALoss(warmup=None, reduce="replica"),
}
for name, loss in losses.items():
    start, alone, logs = train(None, loss())
    _, together, logs_together = train(strategy, loss())
    found[name] = {
        "error": distance(alone, together) / distance(alone, start),
        "logs": max(abs(logs[key] - logs_together[key]) for key in logs),
    }
# Of unequal parts, Keras averages the task loss of each part, so it differs from one device's by
# itself. The objectives do not, even where a replica has no sample, which Keras's Flatten refuses.
for samples, is_dense in ((123, False), (97, True)):
    start, alone, _ = train(None, mk.MODALoss(warmup=None), samples, no_task, is_dense)
    _, together, _ = train(strategy, mk.MODALoss(warmup=None), samples, no_task, is_dense)
    found[f"{samples} samples"] = distance(alone, together) / distance(alone, start)
with strategy.scope():
    model = mk.zoo.lenet5(input_shape=(16, 16, 1))
    x, y = np.tile(X[:101, :4, :4], (1, 4, 4, 1)), Y[:101]
    inside = mk.decompose(model, x, y, criterion="importance", verbose=0)
outside = mk.decompose(model, x, y, criterion="importance", verbose=0)
found["decompose"] = max(
    float(np.abs(inside.importance[n] - outside.importance[n]).max() / outside.importance[n].max())
    for n in inside.units
)
assert all(
    np.array_equal(inside.activation_counts[n], outside.activation_counts[n]) for n in inside.units
)
print(json.dumps(found))
