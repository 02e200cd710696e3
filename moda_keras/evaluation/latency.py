"""How long a model takes on this machine."""

import time

import keras
import numpy as np

from moda_keras.graph import inputs_and_outputs, to_functional
from moda_keras.observing.labelled_arrays import check_batch_size, check_positive

# The first calls compile, and fill caches.
WARM_UP = 3


def measure_latency(model: keras.Model, *, batch_size: int = 1, runs: int = 30) -> float:
    """The median time of a prediction, on this machine and backend.

    Args:
        model: A model whose input shapes are fixed.
        batch_size: Positive int, the number of samples in a batch; they are zeros.
        runs: Positive int, the number of timed calls of `predict_on_batch`.

    Returns:
        Float, milliseconds.

    Raises:
        ValueError: If an axis of an input other than the batch has unknown size, or a number is not
            positive.

    Examples:
        >>> import keras
        >>> import moda_keras as mk
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> mk.metrics.measure_latency(model) > 0
        True
    """
    check_batch_size(batch_size, is_optional=False)
    check_positive("runs", runs)
    model = to_functional(model)
    inputs = [_zeros(each, batch_size) for each in model.inputs]
    inputs = keras.tree.pack_sequence_as(inputs_and_outputs(model)[0], inputs)
    seconds = []
    for _ in range(WARM_UP + runs):
        start = time.perf_counter()
        model.predict_on_batch(inputs)
        seconds.append(time.perf_counter() - start)
    return 1000 * float(np.median(seconds[WARM_UP:]))


def _zeros(tensor: keras.KerasTensor, batch_size: int) -> np.ndarray:
    shape = tuple(tensor.shape[1:])
    if None in shape:
        raise ValueError(
            "Expected a model whose input shapes are fixed, to measure its latency. Received: an "
            f"input of shape {tuple(tensor.shape)}"
        )
    return np.zeros((batch_size, *shape), tensor.dtype)
