"""Mask generators: small networks that say for each sample which units of a layer it uses."""

from collections.abc import Callable
from typing import Any

import keras

from moda_keras.layers import ModularActivation


def generator_width(units: int) -> int:
    """Width of the hidden layer of a generator for so many units.

    Args:
        units: Number of units, or of kernels of a convolution.

    Returns:
        Int: as many as units if these are fewer than 128, or else half as many.
    """
    return units if units < 128 else units // 2


def generate_mask(
    pooled: keras.KerasTensor,
    units: int,
    *,
    dense: Callable[..., keras.layers.Layer],
    named: Callable[[str], str],
    **shared: Any,
) -> keras.KerasTensor:
    """The mask of a layer's units for every sample, in [0, 1].

    A dense layer without bias, ReLU, a dense layer whose bias begins at 1, tanh, and a marked ReLU,
    the hidden activation of the new model: a mask is exactly 0 for units that are off.

    Args:
        pooled: The mean of what the generator reads over all positions, (B, channels); or with
            axes of size 1 for the positions, if `dense` is a convolution.
        units: Number of units.
        dense: Makes a dense layer: `Dense`, or a convolution of size 1.
        named: Returns a free name for a part.
        **shared: What the configs of all layers have in common.

    Returns:
        Symbolic tensor of the shape of `pooled`, with units for channels.

    Source: MwT (ICSE 2024), section 3.2.1; widths and initial weights by the authors' code.
    """
    he_normal = keras.initializers.VarianceScaling(2.0, "fan_in", "untruncated_normal")
    hidden = dense(
        generator_width(units), use_bias=False, activation="relu",
        kernel_initializer=he_normal, name=named("mask_hidden"), **shared,
    )  # fmt: skip
    output = dense(
        units, activation="tanh", kernel_initializer=he_normal.clone(),
        bias_initializer="ones", name=named("mask_output"), **shared,
    )  # fmt: skip
    return ModularActivation("relu", name=named("mask"), **shared)(output(hidden(pooled)))
