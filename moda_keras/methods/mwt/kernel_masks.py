"""The masks of a convolution's kernels."""

from functools import partial

import keras
from keras import layers

from moda_keras.graph import layer_name
from moda_keras.methods.mask_generator import generate_mask

_POOLINGS = {
    3: layers.GlobalAveragePooling1D,
    4: layers.GlobalAveragePooling2D,
    5: layers.GlobalAveragePooling3D,
}
_DENSE = {3: layers.Conv1D, 4: layers.Conv2D, 5: layers.Conv3D}


def kernel_mask(
    x: keras.KerasTensor, convolution: keras.layers.Layer, names: set[str]
) -> keras.KerasTensor:
    """The mask of a convolution's kernels for every sample, in [0, 1].

    The generator's dense layers are convolutions of size 1 on a map of one position, which are the
    same function: so the channels of every tensor stay on the axis where the convolution has them.

    Args:
        x: The convolution's input (B, ..., channels).
        convolution: The convolution, of which name, number of kernels and data format are read.
        names: The names that are taken; those of the new layers are added.

    Returns:
        Symbolic tensor (B, 1, ..., kernels), or with the kernels on axis 1.
    """
    rank, shared = (
        len(x.shape),
        {
            "dtype": convolution.dtype_policy,
            "data_format": convolution.data_format,
        },
    )

    def named(part: str) -> str:
        return layer_name(f"{convolution.name}_{part}", names)

    pooled = _POOLINGS[rank](keepdims=True, name=named("mask_pool"), **shared)(x)
    dense = partial(_DENSE[rank], kernel_size=1)
    return generate_mask(pooled, convolution.filters, dense=dense, named=named, **shared)
