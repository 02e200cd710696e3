"""The layers that say which kernels of a convolution a sample needs."""

from typing import Any

import keras
from keras import layers

from moda_keras.graph import layer_name
from moda_keras.layers import ModularActivation

_POOLINGS = {
    3: layers.GlobalAveragePooling1D,
    4: layers.GlobalAveragePooling2D,
    5: layers.GlobalAveragePooling3D,
}
_DENSE = {3: layers.Conv1D, 4: layers.Conv2D, 5: layers.Conv3D}


def generator_width(kernels: int) -> int:
    """Width of the hidden layer of a generator for so many kernels.

    Args:
        kernels: Number of kernels of the convolution.

    Returns:
        Int: as many as kernels if these are fewer than 128, or else half as many.
    """
    return kernels if kernels < 128 else kernels // 2


def generate_mask(
    x: keras.KerasTensor, convolution: keras.layers.Layer, names: set[str]
) -> keras.KerasTensor:
    """The mask of a convolution's kernels for every sample, in [0, 1].

    Average pooling, a dense layer without bias, ReLU, a dense layer whose bias begins at 1, tanh,
    and a marked ReLU, the model's hidden activation. The dense layers are convolutions of size 1 on
    a map of one position, which are the same function: so the channels of every tensor stay on the
    axis where the convolution has them.

    Args:
        x: The convolution's input (B, ..., channels).
        convolution: The convolution, of which name, number of kernels and data format are read.
        names: The names that are taken; those of the new layers are added.

    Returns:
        Symbolic tensor (B, 1, ..., kernels), or with the kernels on axis 1.

    Source: MwT (ICSE 2024), section 3.2.1; layers, widths and initial weights by the authors' code.
    """
    kernels, rank = convolution.filters, len(x.shape)
    shared: dict[str, Any] = {
        "dtype": convolution.dtype_policy,
        "data_format": convolution.data_format,
    }

    def named(part: str) -> str:
        return layer_name(f"{convolution.name}_{part}", names)

    dense = _DENSE[rank]
    he_normal = keras.initializers.VarianceScaling(2.0, "fan_in", "untruncated_normal")
    x = _POOLINGS[rank](keepdims=True, name=named("mask_pool"), **shared)(x)
    x = dense(
        generator_width(kernels), 1, use_bias=False, activation="relu",
        kernel_initializer=he_normal, name=named("mask_hidden"), **shared,
    )(x)  # fmt: skip
    x = dense(
        kernels, 1, activation="tanh", kernel_initializer=he_normal.clone(),
        bias_initializer="ones", name=named("mask_output"), **shared,
    )(x)  # fmt: skip
    return ModularActivation("relu", name=named("mask"), **shared)(x)
