"""A layer that picks channels and puts constants where channels are missing."""

from collections.abc import Sequence

import keras
import numpy as np


@keras.saving.register_keras_serializable(package="moda_keras")
class ChannelFill(keras.layers.Layer):
    """Picks, repeats and reorders channels, and fills in constant ones.

    Channel `j` of the output is channel `sources[j]` of the input, or the constant `values[j]`
    where `sources[j]` is -1. In a composed model it gives an operation that cannot be sliced all
    the channels it was trained with.

    Args:
        sources: Integers, one per output channel: an index of an input channel, or -1.
        values: Floats, one per output channel, read where `sources` is -1. Defaults to zeros.
        axis: Integer, the axis of the channels.
        **kwargs: Keyword arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: Tensor of any dtype, with channels along `axis`.

    Examples:
        >>> import numpy as np
        >>> from moda_keras.layers import ChannelFill
        >>> layer = ChannelFill([1, -1, 0], values=[0.0, 0.5, 0.0])
        >>> layer(np.array([[3.0, 4.0]])).tolist()
        [[4.0, 0.5, 3.0]]
    """

    def __init__(
        self,
        sources: Sequence[int],
        values: Sequence[float] | None = None,
        axis: int = -1,
        **kwargs,
    ):
        # The channels pass through in whatever dtype they have.
        super().__init__(autocast=False, **kwargs)
        self.sources = [int(source) for source in sources]
        self.values = [0.0] * len(self.sources) if values is None else [float(v) for v in values]
        self.axis = axis
        self.supports_masking = True
        if len(self.sources) != len(self.values):
            raise ValueError(
                "Expected `values` to have one number per entry of `sources`. Received: "
                f"len(sources)={len(self.sources)}, len(values)={len(self.values)}"
            )

    def call(self, inputs):
        sources = np.array(self.sources, dtype="int32")
        picked = _pick(inputs, np.maximum(sources, 0), self.axis)
        if (sources >= 0).all():
            return picked
        shape = [1] * len(inputs.shape)
        shape[self.axis] = len(sources)
        values = keras.ops.convert_to_tensor(np.array(self.values), dtype=picked.dtype)
        # `where`, not a product with zero: the unused picked channel may hold inf or NaN.
        is_picked = keras.ops.convert_to_tensor((sources >= 0).reshape(shape))
        return keras.ops.where(is_picked, picked, keras.ops.reshape(values, shape))

    def compute_output_shape(self, input_shape):
        shape = list(input_shape)
        shape[self.axis] = len(self.sources)
        return tuple(shape)

    def get_config(self):
        config = super().get_config()
        return {**config, "sources": self.sources, "values": self.values, "axis": self.axis}


def _pick(inputs, indices: np.ndarray, axis: int):
    indices = keras.ops.convert_to_tensor(indices)
    if keras.backend.backend() == "torch":
        # Keras's `take` adds operations that neither ONNX nor OpenVINO can export.
        return inputs.index_select(axis, indices)
    return keras.ops.take(inputs, indices, axis=axis)
