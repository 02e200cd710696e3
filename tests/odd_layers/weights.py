"""Weights that a layer makes and uses itself."""

from typing import ClassVar

from keras import layers, ops

from odd_layers.blocks import dense
from odd_layers.catalogue import WIDTH, WithWeights, odd
from odd_layers.structure import two


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
    shapes: ClassVar = {"kernel": (WIDTH, 5), "bias": (5,), "scale": (5,)}

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
