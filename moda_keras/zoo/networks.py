"""The networks that experiments train, by name."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import layers

from moda_keras import zoo


def small_vgg(input_shape: tuple[int, int, int], classes: int = 10) -> keras.Model:
    """Three blocks of two convolutions (32, 64, 128 channels) and a dense layer of 256 units.

    Args:
        input_shape: Shape of one image, at least 8x8.
        classes: Number of logits.

    Returns:
        A functional model from images `(batch, *input_shape)` to logits `(batch, classes)`.
    """
    return _plain_network(input_shape, classes, [(32, 2), (64, 2), (128, 2)], 256, "small_vgg")


def small_cnn(input_shape: tuple[int, int, int], classes: int = 10) -> keras.Model:
    """Three convolutions (16, 32, 64 channels) and a dense layer of 128 units.

    Args:
        input_shape: Shape of one image, at least 8x8.
        classes: Number of logits.

    Returns:
        A functional model from images `(batch, *input_shape)` to logits `(batch, classes)`.
    """
    return _plain_network(input_shape, classes, [(16, 1), (32, 1), (64, 1)], 128, "small_cnn")


NETWORKS = {
    "lenet5": zoo.lenet5,
    "mobilenet": zoo.mobilenet,
    "rescnn": zoo.rescnn,
    "resnet18": zoo.resnet18,
    "simcnn": zoo.simcnn,
    "small_cnn": small_cnn,
    "small_vgg": small_vgg,
    "vgg16": zoo.vgg16,
}


def build_network(name: str, input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Builds a network, its weights not trained.

    Args:
        name: One of `NETWORKS`.
        input_shape: Shape of one image, in the order of `keras.config.image_data_format()`.
        classes: Number of logits.

    Returns:
        A functional model from images `(batch, *input_shape)` to logits `(batch, classes)`.

    Raises:
        ValueError: If there is no such network.
    """
    check_network(name)
    return NETWORKS[name](input_shape=input_shape, classes=classes)


def with_normalization(
    model: keras.Model, mean: Sequence[float], deviation: Sequence[float]
) -> keras.Model:
    """Puts a layer before a model that subtracts the mean and divides by the deviation.

    So the model, and what is composed of it, takes images as `datasets.load` gives them.

    Args:
        model: A model with one input, images.
        mean: Of each channel, as `Dataset.channel_statistics` gives it.
        deviation: Of each channel.

    Returns:
        A functional model that shares the layers of `model`, with its name.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from moda_keras.experiments import with_normalization
        >>> model = keras.Sequential([keras.Input((1, 1, 2)), keras.layers.Flatten()])
        >>> x = np.array([[[[1.0, 5.0]]], [[[3.0, 9.0]]]])
        >>> with_normalization(model, [2.0, 7.0], [1.0, 2.0]).predict(x, verbose=0).tolist()
        [[-1.0, -1.0], [1.0, 1.0]]
    """
    axis = 1 if keras.config.image_data_format() == "channels_first" else -1
    inputs = keras.Input(model.input_shape[1:])
    variance = np.square(deviation).tolist()
    normalize = layers.Normalization(axis, mean=list(mean), variance=variance)
    return keras.Model(inputs, model(normalize(inputs)), name=model.name)


def check_network(name: str) -> None:
    """Raises a ValueError if there is no network of this name.

    Args:
        name: A name.
    """
    if name not in NETWORKS:
        raise ValueError(f"Unknown network. Expected one of {list(NETWORKS)}. Received: {name!r}")


def _plain_network(
    input_shape: tuple[int, int, int],
    classes: int,
    blocks: list[tuple[int, int]],
    dense_units: int,
    name: str,
) -> keras.Model:
    """Convolutions with BatchNormalization; max pooling, but not after a last single one."""
    inputs = x = keras.Input(input_shape)
    channels = 1 if keras.config.image_data_format() == "channels_first" else -1
    for block, (filters, depth) in enumerate(blocks, start=1):
        for index in range(1, depth + 1):
            layer = f"block{block}_conv{index}"
            x = layers.Conv2D(filters, 3, padding="same", name=layer)(x)
            x = layers.BatchNormalization(channels, name=f"{layer}_bn")(x)
            x = layers.ReLU(name=f"{layer}_relu")(x)
        if depth > 1 or block < len(blocks):
            x = layers.MaxPooling2D(name=f"block{block}_pool")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(dense_units, activation="relu", name="fc1")(x)
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x), name=name)
