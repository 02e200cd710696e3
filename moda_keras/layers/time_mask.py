"""A layer that sends a mask of time steps along with a sequence."""

import keras


@keras.saving.register_keras_serializable(package="moda_keras")
class TimeMask(keras.layers.Layer):
    """Passes a sequence on, and with it a mask of its time steps, as Keras's layers do.

    It takes the place of what `Bidirectional` and `MultiHeadAttention` do with the mask that they
    are given, where the parts of these layers are layers of their own.

    Call arguments:
        inputs: List of two tensors: a sequence (batch, time, ...) and a bool tensor (batch, time),
            False where there is padding.

    Examples:
        >>> import keras
        >>> from moda_keras.layers import TimeMask
        >>> sequence, mask = keras.Input((4, 3)), keras.Input((4,), dtype="bool")
        >>> x = TimeMask()([sequence, mask])
        >>> x = keras.layers.GlobalAveragePooling1D()(x)  # over the time steps that the mask leaves
    """

    def __init__(self, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.supports_masking = True

    def call(self, inputs):
        return inputs[0]

    def compute_mask(self, inputs, previous_mask=None):
        return inputs[1]

    def compute_output_shape(self, input_shape):
        return input_shape[0]

    def get_config(self):
        return super().get_config()
