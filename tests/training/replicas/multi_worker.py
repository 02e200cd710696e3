"""One of several processes under MultiWorkerMirroredStrategy, or one alone. Run by a test.

Writes its weights to the file that is the first argument; the process alone has no TF_CONFIG. The
loop is of one's own: Keras's `fit` does not run under this strategy, with any model.
"""
# The strategy must be made before anything else of TensorFlow.
# ruff: noqa: E402

import os
import sys

os.environ["KERAS_BACKEND"] = "tensorflow"

import numpy as np
import tensorflow as tf

IS_ONE_OF_SEVERAL = "TF_CONFIG" in os.environ
strategy = (
    tf.distribute.MultiWorkerMirroredStrategy()
    if IS_ONE_OF_SEVERAL
    else tf.distribute.get_strategy()
)

import keras

import moda_keras as mk

X = np.random.default_rng(0).normal(size=(128, 8)).astype("float32")
Y = (np.arange(128) * 7 % 10).astype("int32")
BATCH = 32

with strategy.scope():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((8,))
    hidden = keras.layers.Dense(16, activation="relu")(inputs)
    model = keras.Model(inputs, [keras.layers.Dense(10)(hidden), hidden])
    optimizer = keras.optimizers.SGD(0.1)
    optimizer.build(model.trainable_variables)
start = [variable.numpy() for variable in model.trainable_variables]
loss = mk.MODALoss(alpha=3.0)
workers = strategy.num_replicas_in_sync


def step(x, y):
    with tf.GradientTape() as tape:
        logits, units = model(x, training=True)
        task = keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)
        modular = loss([units], y, 10) * loss.training_factor(y, logits)
        total = tf.reduce_mean(task) / workers + modular / workers
    gradients = tape.gradient(total, model.trainable_variables)
    optimizer.apply(gradients, model.trainable_variables)


@tf.function
def distributed(x, y):
    strategy.run(step, args=(x, y))


def part(context):
    size = BATCH // context.num_input_pipelines
    first = context.input_pipeline_id * size
    rows = [range(i + first, i + first + size) for i in range(0, 128, BATCH)]
    rows = np.concatenate(rows)
    return tf.data.Dataset.from_tensor_slices((X[rows], Y[rows])).batch(size)


if IS_ONE_OF_SEVERAL:
    data = strategy.distribute_datasets_from_function(part)
else:
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(BATCH)
for _ in range(5):
    for batch in data:
        distributed(*batch)
np.savez(sys.argv[1], *start, *[variable.numpy() for variable in model.trainable_variables])
