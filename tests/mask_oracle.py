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


def weights_of(model):
    """Kernel and bias of each layer."""
    names = ("conv1", "conv2", "logits")
    return [[each.astype("float64") for each in model.get_layer(n).get_weights()] for n in names]


def masked_logits(weights, x, masks):
    """Logits of one sample; masks: one array for each convolution."""
    values = x.astype("float64")
    for layer, mask in zip(weights[:-1], masks, strict=True):
        values = convolved(values, *layer) * mask
    kernel, bias = weights[-1]
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
