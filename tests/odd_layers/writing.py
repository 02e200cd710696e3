"""Ways to write a layer: where parts are made, subclasses, overridden methods."""

import keras
from keras import layers, ops

from odd_layers.blocks import dense
from odd_layers.catalogue import Written, odd


# ------------------------------------------------------------------------------- ways to write
@odd("ways to write")
class MadeInBuild(layers.Layer):
    def build(self, shape):
        self.inner = dense(2 * shape[-1], "relu")
        self.inner.build(shape)
        self.outer = dense(shape[-1])
        self.outer.build((*shape[:-1], 2 * shape[-1]))

    def call(self, x):
        return x + self.outer(self.inner(x))


class WithoutItsConfig(layers.Layer):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def call(self, x, training=False):
        return ops.relu(self.inner(x)) if training or self.trainable else self.inner(x)


@odd("ways to write")
def layer_without_its_config():
    return WithoutItsConfig(dense(5))


class WholeWithoutItsConfig(WithoutItsConfig):
    def call(self, x, training=False):
        return ops.relu(self.inner(x)) if training else self.inner(x)


@odd("ways to write", refused="cannot be copied")
def whole_layer_without_its_config():
    return WholeWithoutItsConfig(dense(5))


@odd("ways to write")
class ChosenByConfig(layers.Layer):
    def __init__(self, use_norm=True, activation="relu", **kwargs):
        super().__init__(**kwargs)
        self.inner = dense(5)
        self.norm = layers.LayerNormalization() if use_norm else None
        self.activation = keras.activations.get(activation)

    def call(self, x):
        x = self.inner(x)
        return self.activation(x if self.norm is None else self.norm(x))


@odd(
    "ways to write",
    parts=lambda: {"inner": dense(5)},
    factor=property(lambda self: 0.5 * self.inner.units),
)
def property_used(self, x):
    return ops.relu(self.inner(x)) * self.factor


@odd("ways to write", parts=lambda: {"inner": dense(5)}, activate=staticmethod(ops.gelu))
def static_method_used(self, x):
    return self.activate(self.inner(x))


@odd("ways to write", parts=lambda: {"by_name": {"relu": ops.relu}, "inner": dense(5)})
def functions_in_a_dict(self, x):
    return self.by_name["relu"](self.inner(x))


@odd("ways to write", refused="computes in its `call` alone")
class CallOverridden(Written):
    parts = staticmethod(lambda: {"inner": dense(5, "relu")})

    def __call__(self, x, **kwargs):
        return super().__call__(x, **kwargs) * 2.0

    def call(self, x):
        return self.inner(x)


@odd("ways to write")
class DenseWithANorm(layers.Dense):
    def __init__(self, units=5, **kwargs):
        super().__init__(units, **kwargs)

    def call(self, x):
        return ops.normalize(super().call(x), axis=-1)


@odd("ways to write", known=True)
class DenseOfOnesOwn(layers.Dense):
    def __init__(self, units=5, activation="relu", **kwargs):
        super().__init__(units, activation=activation, **kwargs)


@odd("ways to write")
class DenseWithoutAChange(layers.Dense):
    def __init__(self, units=5, activation="relu", **kwargs):
        super().__init__(units, activation=activation, **kwargs)

    def call(self, x, training=None):
        return super().call(x)


@odd("ways to write", on="image")
class ConvolutionWithoutMean(layers.Conv2D):
    def __init__(self, filters=5, kernel_size=3, **kwargs):
        super().__init__(filters, kernel_size, **kwargs)

    def call(self, x):
        return ops.relu(super().call(x - ops.mean(x, axis=-1, keepdims=True)))


@odd("ways to write", on="image")
class PaddedConvolution(layers.Conv2D):
    def __init__(self, filters=5, kernel_size=3, **kwargs):
        super().__init__(filters, kernel_size, **kwargs)

    def call(self, x):
        return super().call(ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect"))

    def compute_output_shape(self, shape):
        return *shape[:-1], self.filters


@odd("ways to write")
class Clipped(layers.ReLU):
    def call(self, x):
        return ops.minimum(super().call(x), 0.8)


@odd("ways to write", known=True)
class DropoutOfSeeds(layers.Dropout):
    def __init__(self, rate=0.5, **kwargs):
        super().__init__(rate, **kwargs)


@odd("ways to write", parts=lambda: {"inner": dense(5, "relu")})
def layer_made_in_the_call(self, x):
    return layers.Activation("tanh")(layers.Add()([self.inner(x), -x[:, :5]]))


@odd("ways to write", known=True)
def keras_lambda():
    return layers.Lambda(lambda x: ops.relu(x) * 0.5)
