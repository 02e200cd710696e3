"""An activation that marks its output as a hidden activation."""

import contextlib
import threading
from collections.abc import Iterator

import keras

_collection = threading.local()


@contextlib.contextmanager
def collect_marked() -> Iterator[list]:
    """Collects `(layer, output)` of every `ModularActivation` that is called inside."""
    outer = getattr(_collection, "calls", None)
    _collection.calls = calls = []
    try:
        yield calls
    finally:
        _collection.calls = outer


@keras.saving.register_keras_serializable(package="moda_keras")
class ModularActivation(keras.layers.Layer):
    """Applies an activation function and marks its output as a hidden activation.

    Where a model has any of these layers, the modular objectives look at the marked activations
    alone. In a subclass of `moda_keras.ModularModel` that defines its own `call`, marking is how
    the objectives reach the activations at all.

    Args:
        activation: Name of a Keras activation, or a callable. `None` passes the input through.
        data_format: "channels_last" or "channels_first": where a map has its units. By default what
            the layers before it say, and in a subclassed model `keras.config.image_data_format()`.
        **kwargs: Keyword arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: Float tensor of any shape.

    Examples:
        >>> import keras
        >>> import moda_keras as mk
        >>> inputs = keras.Input((4,))
        >>> x = keras.layers.Dense(8)(inputs)
        >>> x = mk.layers.ModularActivation("relu", name="features")(x)
        >>> model = mk.ModularModel(inputs, keras.layers.Dense(3)(x))
        >>> model.hidden_activations
        [HiddenActivation(name='features', units=8)]
    """

    def __init__(self, activation=None, data_format=None, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.data_format = data_format
        self.activation = keras.activations.get(activation)

    def call(self, inputs):
        outputs = self.activation(inputs)
        calls = getattr(_collection, "calls", None)
        if calls is not None:
            calls.append((self, outputs))
        return outputs

    @property
    def passes_through(self) -> bool:
        """Whether the layer puts out its input, and does nothing but mark it."""
        return self.activation is keras.activations.linear

    def channel_axis(self, rank: int) -> int:
        """Axis of the units of an output of this rank."""
        data_format = self.data_format or keras.config.image_data_format()
        return 1 if rank > 2 and data_format == "channels_first" else rank - 1

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "activation": keras.activations.serialize(self.activation),
            "data_format": self.data_format,
        }
