"""How layers are put together: arguments, nesting, sharing, attributes, wrappers, subclasses."""

import keras
from keras import layers, ops
from odd_layers.blocks import MLP, dense
from odd_layers.catalogue import WIDTH, Written, WithWeights, odd


def two(layer, x):
    return layer(x, layers.Dense(WIDTH, activation="tanh")(x))


# ----------------------------------------------------------------------------------- arguments
@odd("arguments", apply=two, parts=lambda: {"inner": dense(5, "relu")})
def two_inputs(self, first, second):
    return self.inner(ops.concatenate([first, second], axis=-1))


@odd("arguments", apply=lambda layer, x: layer([x, ops.tanh(x)]), parts=lambda: {"inner": dense(5)})
def list_of_inputs(self, inputs):
    return self.inner(inputs[0] - inputs[1])


@odd("arguments", apply=lambda layer, x: layer({"a": x, "b": ops.tanh(x)}))
def dict_of_inputs(self, inputs):
    return inputs["a"] * inputs["b"]


@odd("arguments", apply=lambda layer, x: layer((x, {"b": [ops.tanh(x)]})))
def nested_inputs(self, inputs):
    first, rest = inputs
    return first + rest["b"][0]


@odd("arguments", apply=lambda layer, x: layer(x, other=ops.tanh(x)))
def keyword_input(self, x, *, other):
    return x * other


@odd("arguments")
def optional_input_left_out(self, x, other=None):
    return ops.relu(x) if other is None else x + other


@odd("arguments", apply=two)
def optional_input_given(self, x, other=None):
    return ops.relu(x) if other is None else x + other


@odd("arguments", apply=lambda layer, x: layer(x, factor=2.5))
def number_as_argument(self, x, factor=1.0):
    return x * factor


@odd("arguments", apply=lambda layer, x: layer(x, activation="tanh"))
def word_as_argument(self, x, activation="relu"):
    return keras.activations.get(activation)(x)


@odd("arguments", apply=lambda layer, x: layer(x, ops.tanh(x), ops.sin(x)))
def any_number_of_inputs(self, *inputs):
    return sum(inputs)


@odd(
    "arguments",
    apply=lambda layer, x: layer(x, scale=ops.tanh(x)),
    parts=lambda: {"inner": dense()},
)
def any_keywords(self, x, **others):
    return self.inner(x) * others.get("scale", 1.0) + others.get("shift", 0.5)


@odd("arguments", apply=lambda layer, x: layer(x, x))
def one_tensor_twice(self, first, second):
    return first * second


@odd("arguments", parts=lambda: {"a": dense(4, "relu"), "b": dense(3, "relu")})
def tuple_of_outputs(self, x):
    return self.a(x), self.b(x)


@odd("arguments", parts=lambda: {"a": dense(4, "relu"), "b": dense(3, "relu")})
def dict_of_outputs(self, x):
    return {"b": self.b(x), "a": self.a(x)}


@odd("arguments", parts=lambda: {"a": dense(4, "relu")})
def list_of_outputs(self, x):
    return [self.a(x), ops.tanh(x)]


@odd("arguments", parts=lambda: {"a": dense(4, "relu")}, apply=lambda layer, x: layer(x)[0])
def output_that_nobody_reads(self, x):
    return self.a(x), ops.sum(x, axis=-1)


@odd("arguments", parts=lambda: {"a": dense(4, "relu")})
def same_output_twice(self, x):
    x = self.a(x)
    return x, x


@odd("arguments")
def input_returned(self, x):
    return x


@odd("arguments", parts=lambda: {"a": dense(4, "relu")})
def input_among_the_outputs(self, x):
    return [x, self.a(x)]


@odd(
    "arguments",
    whole="it returns something else",
    weights={"row": (WIDTH,)},
    apply=lambda layer, x: layer(x)[0],
)
def weight_among_the_outputs(self, x):
    return ops.tanh(x) * self.row, self.row


@odd("arguments", whole="Keras sends masks", on="masked", parts=lambda: {"inner": dense(5, "relu")})
def mask_as_argument(self, x, mask=None):
    x = self.inner(x)
    return x if mask is None else x * ops.cast(mask, x.dtype)[..., None]


@odd("arguments", whole="Keras sends masks", on="masked", parts=lambda: {"inner": dense(5, "relu")})
def mask_not_looked_at(self, x):
    return self.inner(x)


@odd("arguments", whole="Keras sends masks", on="masked", parts=lambda: {"inner": dense(5, "relu")}, supports_masking=True,
     apply=lambda layer, x: layers.LSTM(4)(layer(x)))  # fmt: skip
def mask_handed_on(self, x):
    return self.inner(x)


@odd("arguments", on="ids", parts=lambda: {"words": layers.Embedding(9, WIDTH, mask_zero=True)},
     apply=lambda layer, x: layers.LSTM(4)(layer(x)))  # fmt: skip
def mask_made_inside(self, ids):
    return self.words(ids) * 2.0


@odd("arguments", on="sequence", apply=lambda layer, x: layers.LSTM(4)(layer(x)))
class MaskComputed(Written):
    def call(self, x):
        return ops.relu(x)

    def compute_mask(self, inputs, mask=None):
        return ops.any(inputs > 0.6, axis=-1)


# -------------------------------------------------------------------------------------- nesting
class Block(Written):
    parts = staticmethod(MLP["parts"])

    def build(self, shape):
        self.inner.build(shape)
        self.outer.build((*shape[:-1], 8))

    def compute_output_shape(self, shape):
        return shape

    def call(self, x):
        return x + self.outer(self.inner(x))


@odd("nesting", parts=lambda: {"block": Block(), "out": dense(5, "relu")})
def layer_inside_a_layer(self, x):
    return self.out(self.block(x))


@odd("nesting", parts=lambda: {"blocks": [Block() for _ in range(3)]})
def list_of_layers(self, x):
    for block in self.blocks:
        x = block(x)
    return x


@odd("nesting", parts=lambda: {"blocks": {"a": Block(), "b": Block()}})
def dict_of_layers(self, x):
    return self.blocks["b"](self.blocks["a"](x))


@odd(
    "nesting",
    parts=lambda: {
        "blocks": [{"mlp": Block(), "norm": layers.LayerNormalization()} for _ in range(2)]
    },
)
def list_of_dicts_of_layers(self, x):
    for each in self.blocks:
        x = each["norm"](each["mlp"](x))
    return x


@odd("nesting", parts=lambda: {"blocks": (dense(5, "relu"), (dense(4, "relu"), dense()))})
def nested_tuples_of_layers(self, x):
    first, (second, third) = self.blocks
    return third(second(first(x)))


@odd("nesting", parts=lambda: {"shared": dense(WIDTH, "tanh")})
def one_layer_called_twice(self, x):
    return self.shared(self.shared(x))


@odd("nesting", parts=lambda: {"shared": dense(5, "relu")})
def one_layer_on_two_inputs(self, x):
    return self.shared(x) * self.shared(-x)


@odd("nesting", parts=lambda: {"block": Block()})
def block_called_in_a_loop(self, x):
    for _ in range(3):
        x = self.block(x)
    return x


@odd(
    "nesting",
    parts=lambda: {"first": Block(), "second": Block()},
    apply=lambda layer, x: layer(layer(x)),
)
def layer_called_twice(self, x):
    return self.second(self.first(x))


@odd("nesting", parts=lambda: {"inner": keras.Sequential([dense(8, "relu"), dense()])})
def sequential_inside(self, x):
    return x + self.inner(x)


def functional():
    inputs = keras.Input((WIDTH,))
    x = dense(5, "relu")(inputs)
    return keras.Model(inputs, layers.concatenate([x, dense(3, "tanh")(x)]))


@odd("nesting", parts=lambda: {"inner": functional(), "out": dense()})
def functional_inside(self, x, training=False):
    return self.out(self.inner(x, training=training))


class Net(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.a, self.b = dense(7, "relu"), dense(WIDTH)

    def call(self, x):
        return self.b(self.a(x))


@odd("nesting", parts=lambda: {"net": Net()})
def model_inside(self, x):
    return ops.relu(self.net(x))


@odd("nesting")
def subclassed_model():
    return Net()


def tower(depth):
    class Tower(Written):
        parts = staticmethod(
            lambda: {"own": dense(WIDTH, "relu"), **({"rest": tower(depth - 1)} if depth else {})}
        )

        def call(self, x):
            x = self.own(x)
            return self.rest(x) if depth else x

    return Tower()


@odd("nesting")
def layer_that_holds_its_like():
    return tower(3)


@odd("nesting", parts=lambda: {"inner": dense(5, "relu")})
class DerivedFromAnother(Block):
    def call(self, x):
        return ops.tanh(super().call(x)) + x


@odd("nesting", on="sequence", parts=lambda: {"each": layers.TimeDistributed(dense(5, "relu"))})
def time_distributed_inside(self, x):
    return self.each(x)


@odd("nesting", refused="cannot be copied", on="sequence")
def time_distributed_over_a_block():
    return layers.TimeDistributed(Block())


@odd(
    "nesting",
    parts=lambda: {
        "times": layers.Lambda(lambda x: 2.0 * x, output_shape=(WIDTH,)),
        "out": dense(5, "relu"),
    },
)
def lambda_inside(self, x):
    return self.out(self.times(x))


@odd("nesting")
class Wrapped(layers.Wrapper):
    def __init__(self, **kwargs):
        super().__init__(dense(5, "relu"))

    def call(self, x):
        return self.layer(x) * 0.5


@odd("nesting", parts=lambda: {"norm": layers.SpectralNormalization(dense(5))})
def spectral_normalization_of_keras(self, x):
    return ops.relu(self.norm(x))


# --------------------------------------------------------------------------- weights by hand
@odd("weights by hand", weights={"kernel": (WIDTH, 5), "bias": (5,)})
def dense_by_hand(self, x):
    return ops.relu(ops.matmul(x, self.kernel) + self.bias)


@odd("weights by hand", weights={"kernel": (WIDTH, 5), "bias": (5,)})
def dense_by_operators(self, x):
    return ops.relu(x @ self.kernel + self.bias)


@odd("weights by hand", weights={"kernel": (WIDTH, 5)})
def dense_by_einsum(self, x):
    return ops.relu(ops.einsum("bi,io->bo", x, self.kernel))


@odd("weights by hand", on="sequence", weights={"kernel": (WIDTH, 5)})
def dense_by_tensordot(self, x):
    return ops.relu(ops.tensordot(x, self.kernel, axes=[[2], [0]]))


@odd("weights by hand", weights={"direction": (WIDTH, 5), "gain": (5,)})
def weight_normalization(self, x):
    kernel = self.gain * self.direction / ops.norm(self.direction, axis=0)
    return ops.relu(ops.matmul(x, kernel))


@odd("weights by hand", weights={"kernel": (WIDTH, 5)})
def weight_normalized_by_ops(self, x):
    return ops.relu(ops.matmul(x, ops.normalize(self.kernel, axis=0)))


@odd("weights by hand", weights={"kernel": (WIDTH, 5), "left": (1, WIDTH)})
def spectral_norm_by_hand(self, x):
    right = ops.normalize(ops.matmul(self.left, self.kernel), axis=-1)
    left = ops.normalize(ops.matmul(right, ops.transpose(self.kernel)), axis=-1)
    sigma = ops.matmul(ops.matmul(left, self.kernel), ops.transpose(right))
    return ops.relu(ops.matmul(x, self.kernel / sigma[0, 0]))


@odd("weights by hand", weights={"kernel": (WIDTH, 5)})
def tied_weights(self, x):
    return ops.matmul(ops.relu(ops.matmul(x, self.kernel)), ops.transpose(self.kernel))


@odd(
    "weights by hand",
    whole="it derives values from its weights",
    parts=lambda: {"inner": dense(5, "relu")},
)
def tied_with_a_layer(self, x):
    return ops.matmul(self.inner(x), ops.transpose(self.inner.kernel))


@odd(
    "weights by hand",
    whole="it derives values from its weights",
    on="ids",
    parts=lambda: {"table": layers.Embedding(9, WIDTH), "mid": dense(WIDTH, "relu")},
)
def tied_embedding(self, ids):
    return ops.matmul(self.mid(self.table(ids)), ops.transpose(self.table.embeddings))


@odd("weights by hand", weights={"kernel": (WIDTH, 5), "mask_positive": (WIDTH, 5)})
def masked_weights(self, x):
    return ops.relu(ops.matmul(x, self.kernel * ops.cast(self.mask_positive > 0.8, "float32")))


@odd("weights by hand", weights={"first": (WIDTH, 2), "second": (2, 5)})
def low_rank(self, x):
    return ops.relu(ops.matmul(ops.matmul(x, self.first), self.second))


@odd("weights by hand", weights={"first": (WIDTH, 2), "second": (2, 5)})
def low_rank_multiplied_first(self, x):
    return ops.relu(ops.matmul(x, ops.matmul(self.first, self.second)))


@odd("weights by hand", weights={"slope": (WIDTH,)})
def prelu_by_hand(self, x):
    return ops.maximum(x, 0.0) + self.slope * ops.minimum(x, 0.0)


@odd("weights by hand", weights={"beta": ()})
def swish_with_beta(self, x):
    return x * ops.sigmoid(self.beta * x)


@odd("weights by hand", weights={"gamma": (WIDTH,), "beta": (WIDTH,)})
def layer_norm_by_hand(self, x):
    mean, variance = ops.moments(x, axes=-1, keepdims=True)
    return self.gamma * (x - mean) * ops.rsqrt(variance + 1e-5) + self.beta


@odd("weights by hand", weights={"gamma": (WIDTH,)})
def rms_norm_by_hand(self, x):
    return self.gamma * x / ops.sqrt(ops.mean(ops.square(x), axis=-1, keepdims=True) + 1e-5)


@odd("weights by hand", weights={"centers": (4, WIDTH)})
def radial_basis(self, x):
    return ops.exp(-ops.sum(ops.square(x[:, None] - self.centers[None]), axis=-1) / 20.0)


@odd("weights by hand", weights={"left": (WIDTH, 4, 3)}, apply=two)
def bilinear_form(self, first, second):
    return ops.einsum("bi,ioj,bj->bo", first, self.left, second[:, :3])


@odd("weights by hand", weights={"factors": (WIDTH, 3)})
def factorization_machine(self, x):
    total = ops.square(ops.matmul(x, self.factors))
    return 0.5 * ops.sum(
        total - ops.matmul(ops.square(x), ops.square(self.factors)), axis=-1, keepdims=True
    )


@odd("weights by hand", weights={"cross": (WIDTH, 1), "bias": (WIDTH,)})
def cross_network(self, x):
    return x * ops.matmul(x, self.cross) + self.bias + x


@odd("weights by hand", weights={"knots": (WIDTH, 4, 5)})
def spline_network(self, x):
    basis = ops.exp(-ops.square(x[..., None] - ops.linspace(-1.0, 1.0, 4)))
    return ops.einsum("bik,iko->bo", basis, self.knots)


@odd("weights by hand")
class FrozenFactor(layers.Layer):
    def build(self, shape):
        self.factor = self.add_weight(shape=(shape[-1],), trainable=False, name="factor")

    def call(self, x):
        return x * self.factor


@odd("weights by hand")
class FrozenKernel(layers.Layer):
    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 5), trainable=False, name="kernel")

    def call(self, x):
        return ops.relu(ops.matmul(x, self.kernel))


@odd("weights by hand")
class FrozenBias(layers.Layer):
    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 5), name="kernel")
        self.bias = self.add_weight(shape=(5,), trainable=False, name="bias")

    def call(self, x):
        return ops.relu(ops.matmul(x, self.kernel) + self.bias)


@odd("weights by hand")
class FrozenLayer(WithWeights):
    shapes = {"kernel": (WIDTH, 5), "bias": (5,), "scale": (5,)}

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.trainable = False

    def call(self, x):
        return ops.relu(ops.matmul(x, self.kernel) + self.bias) * self.scale


@odd("weights by hand")
class PenalizedKernel(layers.Layer):
    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 5), regularizer="l2", name="kernel")

    def call(self, x):
        return ops.relu(ops.matmul(x, self.kernel))


@odd("weights by hand")
class ConstrainedKernel(layers.Layer):
    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 5), constraint="non_neg", name="kernel")

    def call(self, x):
        return ops.relu(ops.matmul(x, self.kernel))


@odd("weights by hand")
class WeightsInAList(layers.Layer):
    def build(self, shape):
        self.kernels = [self.add_weight(shape=(shape[-1], 5), name=f"kernel_{i}") for i in range(2)]

    def call(self, x):
        return sum(ops.relu(ops.matmul(x, kernel)) for kernel in self.kernels)


@odd("weights by hand", whole="it derives values from its weights")
class WeightsInADict(layers.Layer):
    def build(self, shape):
        self.held = {"a": self.add_weight(shape=(shape[-1],), name="a")}

    def call(self, x):
        return ops.relu(x) * ops.exp(self.held["a"])


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
