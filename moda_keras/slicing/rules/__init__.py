"""One rule per family of layers; importing the package registers them."""

from moda_keras.slicing.rules import (
    axes,
    channelwise,
    dense_like,
    depthwise,
    embedding,
    grouped,
    merging,
    normalization,
    parameter,
    projecting,
    recurrent,
    repeated,
    reshaping,
    wrapped,
)

__all__ = [
    "axes",
    "channelwise",
    "dense_like",
    "depthwise",
    "embedding",
    "grouped",
    "merging",
    "normalization",
    "parameter",
    "projecting",
    "recurrent",
    "repeated",
    "reshaping",
    "wrapped",
]
