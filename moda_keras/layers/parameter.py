"""A layer that puts out a weight."""

from collections.abc import Sequence

import keras


@keras.saving.register_keras_serializable(package="moda_keras")
class Parameter(keras.layers.Layer):
    """Puts out a weight, whatever goes in.

    It makes a weight that a layer uses directly, such as `self.scale` in `inputs * self.scale`, a
    tensor of a graph.

    Args:
        shape: Shape of the weight.
        output_shape: Shape of the output, of as many elements; `shape` by default.
        trainable: Whether the weight is trained.
        regularizer: Regularizer of the weight, as `keras.regularizers.get` takes it.
        constraint: Constraint of the weight, as `keras.constraints.get` takes it.
        **kwargs: Keyword arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: Any tensor; it is not read. A functional model needs it.

    Examples:
        >>> import numpy as np
        >>> from moda_keras.layers import Parameter
        >>> layer = Parameter((2,), output_shape=(1, 2))
        >>> tuple(layer(np.zeros((5, 3))).shape)
        (1, 2)
    """

    def __init__(
        self,
        shape: Sequence[int],
        output_shape: Sequence[int] | None = None,
        trainable: bool = True,
        regularizer: object = None,
        constraint: object = None,
        **kwargs,
    ):
        super().__init__(trainable=trainable, autocast=False, **kwargs)
        self.shape = tuple(int(length) for length in shape)
        self.output_shape_ = self.shape if output_shape is None else tuple(map(int, output_shape))
        self.regularizer = keras.regularizers.get(regularizer)
        self.constraint = keras.constraints.get(constraint)
        self.supports_masking = False
        self.value = None

    @classmethod
    def of(
        cls, variable: keras.Variable, output_shape: Sequence[int], dtype: object, name: str
    ) -> "Parameter":
        """A layer that puts out a weight of another layer; both share it.

        Args:
            variable: The weight.
            output_shape: Shape of the output.
            dtype: Dtype policy, as of the other layer.
            name: Name of the layer.

        Returns:
            The layer, built.
        """
        shape = tuple(variable.shape)
        settings = (variable.trainable, variable.regularizer, variable.constraint)
        layer = cls(shape, output_shape, *settings, dtype=dtype, name=name)
        layer.value = variable
        layer.built = True
        return layer

    def build(self, input_shape):
        self.value = self.add_weight(
            shape=self.shape,
            initializer="zeros",
            regularizer=self.regularizer,
            constraint=self.constraint,
            name="value",
        )

    def call(self, inputs):
        value = keras.ops.cast(self.value, self.compute_dtype)
        return keras.ops.reshape(value, self.output_shape_)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(self.output_shape_, dtype=self.compute_dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "shape": self.shape,
            "output_shape": self.output_shape_,
            "regularizer": keras.regularizers.serialize(self.regularizer),
            "constraint": keras.constraints.serialize(self.constraint),
        }
