"""Layers that moda_keras adds to Keras."""

from moda_keras.layers.channel_fill import ChannelFill
from moda_keras.layers.first_rows import FirstRows
from moda_keras.layers.modular_activation import ModularActivation
from moda_keras.layers.over_batch import OverBatch
from moda_keras.layers.parameter import Parameter
from moda_keras.layers.time_mask import TimeMask
from moda_keras.layers.unit_mask import UnitMask

__all__ = [
    "ChannelFill",
    "FirstRows",
    "ModularActivation",
    "OverBatch",
    "Parameter",
    "TimeMask",
    "UnitMask",
]
