"""Input normalization as a layer of the model."""

from collections.abc import Sequence

import keras
import numpy as np


def with_normalization(
    model: keras.Model, mean: Sequence[float], deviation: Sequence[float]
) -> keras.Model:
    """Adds an input layer that subtracts the mean and divides by the standard deviation.

    The model, and every model composed from it, then takes images as `datasets.load` returns them.

    Args:
        model: A model with one input, images.
        mean: Mean of each channel, as in `Dataset.channel_statistics`.
        deviation: Standard deviation of each channel.

    Returns:
        A functional model that shares the layers of `model` and has its name.

    Examples:
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
    normalize = keras.layers.Normalization(axis, mean=list(mean), variance=variance)
    return keras.Model(inputs, model(normalize(inputs)), name=model.name)
