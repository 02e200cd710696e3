"""A layer that multiplies units by zero or one."""

from collections.abc import Sequence

import keras
import numpy as np


@keras.saving.register_keras_serializable(package="moda_keras")
class UnitMask(keras.layers.Layer):
    """Multiplies every unit by its entry of a fixed mask of zeros and ones.

    Args:
        mask: Booleans, one per unit: whether the unit stays.
        axis: Integer, the axis of the units (channels).
        **kwargs: Keyword arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: Float tensor with units along `axis`.

    Examples:
        >>> import numpy as np
        >>> from moda_keras.layers import UnitMask
        >>> UnitMask([True, False])(np.array([[3.0, 4.0]])).tolist()
        [[3.0, 0.0]]
    """

    def __init__(self, mask: Sequence[bool], axis: int = -1, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.mask = [bool(unit) for unit in mask]
        self.axis = axis
        self.supports_masking = True

    def call(self, inputs):
        shape = [1] * len(inputs.shape)
        shape[self.axis] = len(self.mask)
        mask = np.array(self.mask).reshape(shape)
        return inputs * keras.ops.convert_to_tensor(mask, dtype=inputs.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "mask": self.mask, "axis": self.axis}
