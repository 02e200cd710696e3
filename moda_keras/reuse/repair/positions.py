"""Values at some positions of every sample: rows for least squares."""

from typing import Any

import keras
import numpy as np

from moda_keras.reuse.repair.projections import Projection
from moda_keras.slicing.channels import Channels


def random_positions(
    random: np.random.Generator, samples: int, places: int, count: int
) -> np.ndarray:
    """Int array (samples, count): random positions of every sample, each once."""
    if count >= places:
        return np.broadcast_to(np.arange(places), (samples, places))
    return np.argsort(random.random((samples, places)), axis=1)[:, :count]


def rows_at(projection: Projection, batches: list, chosen: list) -> np.ndarray:
    """Chosen positions of all batches, array (n, channels, ...)."""
    pairs = zip(batches, chosen, strict=True)
    return np.concatenate([projection.at(as_numpy(values), at) for values, at in pairs])


def channels_known(values: np.ndarray, fed: Channels, channels: np.ndarray) -> np.ndarray:
    """The value at each of `channels`, of which some are there and some are constants."""
    position = np.full(fed.size, -1)
    position[fed.kept] = np.arange(len(fed.kept))
    source = position[channels]
    shape = (1, len(channels), *[1] * (values.ndim - 2))
    there = values.take(np.maximum(source, 0), 1)
    return np.where((source >= 0).reshape(shape), there, fed.const[channels].reshape(shape))


def as_numpy(values: Any) -> np.ndarray:
    """A tensor as float32, or as float64 if it is."""
    array = keras.ops.convert_to_numpy(values)
    return array if array.dtype == "float64" else array.astype("float32", copy=False)
