"""A tiny CNN with masks and heads, computed by loops in float64."""

import keras
import numpy as np
from keras import layers
from masking import randomize

CLASSES = 3


def tiny_cnn():
    image = keras.Input((4, 4, 2), name="image")
    x = layers.Conv2D(3, 2, activation="relu", name="conv1")(image)
    x = layers.Conv2D(2, 2, activation="relu", name="conv2")(x)
    x = layers.Flatten(name="flatten")(x)
    return randomize(
        keras.Model(image, layers.Dense(CLASSES, activation="softmax", name="logits")(x))
    )


def convolved(x, kernel, bias):
    rows, columns = x.shape[0] - 1, x.shape[1] - 1
    found = np.zeros((rows, columns, kernel.shape[3]))
    for row in range(rows):
        for column in range(columns):
            for unit in range(kernel.shape[3]):
                patch = x[row : row + 2, column : column + 2]
                found[row, column, unit] = (patch * kernel[..., unit]).sum() + bias[unit]
    return np.maximum(found, 0)


def masked_logits(model, x, masks):
    """Logits of one sample; masks: one array for each convolution."""
    values = x.astype("float64")
    for name, mask in zip(("conv1", "conv2"), masks, strict=True):
        weights = [each.astype("float64") for each in model.get_layer(name).get_weights()]
        values = convolved(values, *weights) * mask
    kernel, bias = (each.astype("float64") for each in model.get_layer("logits").get_weights())
    return values.reshape(-1) @ kernel + bias


def head_output(logits, layers_of_head):
    values = logits
    for kernel, bias in layers_of_head:
        values = np.maximum(values, 0) @ kernel + bias
    return values


def cross_entropy(outputs, label):
    return np.log(np.exp(outputs).sum()) - outputs[label]


def sigmoid(values):
    return 1 / (1 + np.exp(-values))
