"""A layer that repeats a tensor for every sample of a batch."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="moda_keras")
class OverBatch(keras.layers.Layer):
    """Repeats values, the same for all samples, as many times as there are samples.

    It makes of a class token `(1, 1, D)` one of each sample, whatever the batch size.

    Args:
        new_axis: Whether the values lack the batch axis; otherwise it has length 1.
        **kwargs: Keyword arguments of `keras.layers.Layer`.

    Call arguments:
        values: Tensor of shape `(1, ...)`, or `(...)` with `new_axis`.
        reference: Tensor of shape `(batch, ...)`; its batch size alone is read.

    Examples:
        >>> import numpy as np
        >>> from moda_keras.layers import OverBatch
        >>> tuple(OverBatch()(np.zeros((1, 1, 2)), np.zeros((5, 3))).shape)
        (5, 1, 2)
    """

    def __init__(self, new_axis: bool = False, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.new_axis = bool(new_axis)
        self.supports_masking = False

    def build(self, values_shape, reference_shape):
        pass

    def call(self, values, reference):
        values = ops.expand_dims(values, 0) if self.new_axis else values
        return ops.repeat(values, ops.shape(reference)[0], axis=0)

    def compute_output_spec(self, values, reference):
        lengths = values.shape if self.new_axis else values.shape[1:]
        return keras.KerasTensor((reference.shape[0], *lengths), dtype=values.dtype)

    def get_config(self):
        return {**super().get_config(), "new_axis": self.new_axis}
