"""Models and labelled data that the experiments are tested on."""

import keras
import numpy as np
from keras import layers
from masking import randomize
from small_models import inputs_of

SAMPLES = 40


def labelled_inputs(model, samples=SAMPLES, seed=1):
    """Inputs, and labels of which every class has some."""
    classes = model.output_shape[-1]
    y = np.random.default_rng(seed).permutation(np.arange(samples) % classes)
    return inputs_of(model, samples, seed), y


def residual(classes=4):
    """A skip connection around a hidden activation, and a softmax behind the logits."""
    image = keras.Input((6, 6, 2), name="image")
    x = layers.Conv2D(5, 3, padding="same", activation="relu", name="conv1")(image)
    y = layers.Conv2D(5, 3, padding="same", name="conv2")(x)
    y = layers.BatchNormalization(name="bn")(y)
    y = layers.ReLU(name="relu")(y)
    x = layers.Add(name="add")([x, y])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(7, activation="gelu", name="fc")(x)
    output = layers.Dense(classes, activation="softmax", name="logits")(x)
    return randomize(keras.Model(image, output, name="residual"))
