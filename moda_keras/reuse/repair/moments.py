"""Matches mean and variance: what batch normalizations of the new model expect to see."""

import keras
import numpy as np

# A variance below this share of the original's is that of a channel that is as good as constant.
TINY = 1e-6


def channel_moments(batches: list[np.ndarray], axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of every channel.

    Args:
        batches: Arrays (B, ...).
        axis: The axis of the channels.

    Returns:
        Two float64 arrays (channels,).
    """
    rows = total = squares = 0.0
    for batch in batches:
        values = np.moveaxis(batch, axis, -1).reshape(-1, batch.shape[axis]).astype("float64")
        rows += len(values)
        total = total + values.sum(axis=0)
        squares = squares + (values**2).sum(axis=0)
    mean = total / rows
    return mean, np.maximum(squares / rows - mean**2, 0.0)


def matched_statistics(
    layer: keras.layers.BatchNormalization,
    wanted: tuple[np.ndarray, np.ndarray],
    received: tuple[np.ndarray, np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Moving statistics with which a layer's outputs have the mean and variance they had.

    Args:
        layer: The batch normalization of the new model, with the original's statistics.
        wanted: Mean and variance of what went into the original layer, (channels,) each.
        received: Mean and variance of what goes into the new one.

    Returns:
        Moving mean and moving variance, float64 (channels,). Channels that are nearly constant
        keep their variance.
    """
    mean, variance = (
        keras.ops.convert_to_numpy(w).astype("float64")
        for w in (layer.moving_mean, layer.moving_variance)
    )
    scale = variance + layer.epsilon
    is_alive = (wanted[1] > TINY * scale) & (received[1] > TINY * wanted[1])
    ratio = np.where(is_alive, received[1] / np.where(is_alive, wanted[1], 1.0), 1.0)
    new_variance = np.maximum(scale * ratio - layer.epsilon, 0.0)
    ratio = (new_variance + layer.epsilon) / scale
    return received[0] - (wanted[0] - mean) * np.sqrt(ratio), new_variance
