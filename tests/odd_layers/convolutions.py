"""Blocks of convolutional networks."""

from keras import layers, ops

from odd_layers.blocks import conv, dense
from odd_layers.catalogue import odd


@odd(
    "convolutions",
    on="image",
    parts=lambda: {
        "a": conv(4, 3, use_bias=False),
        "bn": layers.BatchNormalization(),
        "b": conv(6, 3),
        "relu": layers.ReLU(),
    },
)
def basic_block(self, x, training=False):
    return self.relu(x + self.b(self.relu(self.bn(self.a(x), training=training))))


@odd(
    "convolutions",
    on="image",
    parts=lambda: {"a": conv(3, 1, "relu"), "b": conv(3, 3, "relu"), "c": conv(6)},
)
def bottleneck(self, x):
    return ops.relu(self.c(self.b(self.a(x))) + x)


@odd(
    "convolutions",
    on="image",
    parts=lambda: {
        "wide": conv(12, 1, "relu6"),
        "deep": layers.DepthwiseConv2D(3, padding="same"),
        "narrow": conv(6),
    },
)
def inverted_bottleneck(self, x):
    return x + self.narrow(ops.relu6(self.deep(self.wide(x))))


@odd(
    "convolutions",
    on="image",
    weights={"gamma": (6,)},
    parts=lambda: {
        "deep": layers.DepthwiseConv2D(3, padding="same"),
        "norm": layers.LayerNormalization(epsilon=1e-6),
        "wide": dense(12, "gelu"),
        "narrow": dense(6),
    },
)
def convnext_block(self, x):
    return x + self.gamma * self.narrow(self.wide(self.norm(self.deep(x))))


@odd(
    "convolutions",
    on="image",
    parts=lambda: {"separable": layers.SeparableConv2D(5, 3, activation="relu")},
)
def separable(self, x):
    return self.separable(ops.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]]))


@odd("convolutions", on="image", parts=lambda: {"conv": conv(8, 3)})
def pixel_shuffle(self, x):
    x = ops.reshape(self.conv(x), (-1, 4, 4, 2, 2, 2))
    return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, 8, 8, 2))


@odd("convolutions", on="image")
def space_to_depth(self, x):
    x = ops.reshape(x, (-1, 2, 2, 2, 2, 6))
    return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, 2, 2, 24))


@odd(
    "convolutions",
    on="image",
    parts=lambda: {"left": conv(3, 1, "relu"), "right": conv(3, 3, "relu")},
)
def inception(self, x):
    pooled = ops.max_pool(x, 2, strides=1, padding="same")
    return ops.concatenate([self.left(x), self.right(x), pooled], axis=-1)


@odd("convolutions", on="image", parts=lambda: {"conv": conv(6, 3)})
def channel_shuffle(self, x):
    x = ops.transpose(ops.reshape(self.conv(x), (-1, 4, 4, 2, 3)), (0, 1, 2, 4, 3))
    return ops.relu(ops.reshape(x, (-1, 4, 4, 6)))


@odd(
    "convolutions",
    on="image",
    parts=lambda: {
        "first": conv(3, 1, "relu"),
        "cheap": layers.DepthwiseConv2D(3, padding="same", activation="relu"),
    },
)
def ghost(self, x):
    first = self.first(x)
    return layers.Concatenate()([first, self.cheap(first)])


@odd("convolutions", on="image", weights={"kernel": (3, 3, 6, 5), "bias": (5,)})
def convolution_by_hand(self, x):
    return ops.relu(ops.conv(x, self.kernel, padding="same") + self.bias)


@odd("convolutions", on="image", weights={"kernel": (3, 3, 6, 5), "gain": (5,)})
def standardized_convolution(self, x):
    kernel = self.kernel - ops.mean(self.kernel, axis=(0, 1, 2), keepdims=True)
    kernel = kernel / (ops.std(self.kernel, axis=(0, 1, 2), keepdims=True) + 1e-5)
    return ops.conv(x, kernel * self.gain, padding="same")


@odd("convolutions", on="image", weights={"kernel": (3, 3, 6, 1)})
def depthwise_by_hand(self, x):
    return ops.relu(ops.depthwise_conv(x, self.kernel, padding="same"))


@odd("convolutions", on="image", parts=lambda: {"conv": conv(4, 3, "relu")})
def upsampled(self, x):
    return self.conv(ops.image.resize(x, (8, 8), interpolation="nearest"))


@odd(
    "convolutions",
    whole="its graph depends on the batch size",
    on="image",
    parts=lambda: {"conv": conv(4, 2, "relu", strides=2)},
)
def with_coordinates(self, x):
    rows = ops.broadcast_to(ops.reshape(ops.linspace(-1.0, 1.0, 4), (1, 4, 1, 1)), (1, 4, 4, 1))
    rows = ops.tile(rows, (ops.shape(x)[0], 1, 1, 1))
    return self.conv(ops.concatenate([x, rows], axis=-1))


@odd("convolutions", on="image", parts=lambda: {"conv": conv(4, 1, "relu")})
def global_pools(self, x):
    x = self.conv(x)
    return ops.concatenate([ops.mean(x, axis=(1, 2)), ops.amax(x, axis=(1, 2))], axis=-1)


@odd("convolutions", on="image", weights={"power": ()})
def generalized_mean(self, x):
    power = 1.0 + ops.abs(self.power)
    return ops.power(ops.mean(ops.power(ops.abs(x) + 1e-3, power), axis=(1, 2)), 1.0 / power)


@odd("convolutions", on="image")
def blur_pool(self, x):
    kernel = ops.tile(ops.reshape(ops.array([0.25, 0.5, 0.25]), (3, 1, 1, 1)), (1, 1, 6, 1))
    return ops.depthwise_conv(x, kernel, strides=2, padding="same")
