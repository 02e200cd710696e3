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
    quantized,
    recurrent,
    repeated,
    reshaping,
    time_mask,
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
    "quantized",
    "recurrent",
    "repeated",
    "reshaping",
    "time_mask",
    "wrapped",
]
