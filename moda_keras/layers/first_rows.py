"""A layer that takes as many rows as another tensor is long."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="moda_keras")
class FirstRows(keras.layers.Layer):
    """Takes the first rows of a matrix, as many as another tensor has positions.

    It makes of the vectors of all positions those of a text, whatever its length.

    Args:
        axis: The axis of the other tensor that holds the positions.
        **kwargs: Keyword arguments of `keras.layers.Layer`.

    Call arguments:
        values: Tensor of shape `(rows, ...)`.
        reference: Tensor of any shape; its length along `axis`, at most `rows`, alone is read.

    Examples:
        >>> import numpy as np
        >>> from moda_keras.layers import FirstRows
        >>> tuple(FirstRows()(np.zeros((9, 2)), np.zeros((5, 3))).shape)
        (3, 2)
    """

    def __init__(self, axis: int = 1, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.axis = int(axis)
        self.supports_masking = False

    def build(self, values_shape, reference_shape):
        pass

    def call(self, values, reference):
        return values[: ops.shape(reference)[self.axis]]

    def compute_output_spec(self, values, reference):
        shape = (reference.shape[self.axis], *values.shape[1:])
        return keras.KerasTensor(shape, dtype=values.dtype)

    def get_config(self):
        return {**super().get_config(), "axis": self.axis}
