"""Blocks of networks for vectors: residual, gated, modulated, mixtures, attention to channels."""

import keras
from keras import layers, ops

from odd_layers.catalogue import WIDTH, odd


def dense(units=WIDTH, activation=None, **kwargs):
    return layers.Dense(units, activation=activation, **kwargs)


def conv(filters=WIDTH, size=1, activation=None, **kwargs):
    return layers.Conv2D(filters, size, padding="same", activation=activation, **kwargs)


# ------------------------------------------------------------------------------------ residual
MLP = {"parts": lambda: {"inner": dense(8, "relu"), "outer": dense()}}


@odd("residual", **MLP)
def residual(self, x):
    return x + self.outer(self.inner(x))


@odd("residual", **MLP)
def residual_times_a_half(self, x):
    return ops.relu(x + 0.5 * self.outer(self.inner(x)))


@odd("residual", parts=lambda: {"inner": dense(8, "relu"), "outer": dense(7), "skip": dense(7)})
def residual_with_projection(self, x):
    return layers.add([self.skip(x), self.outer(self.inner(x))])


@odd("residual", parts=lambda: {"norm": layers.LayerNormalization(), **MLP["parts"]()})
def residual_before_norm(self, x):
    return x + self.outer(self.inner(self.norm(x)))


@odd("residual", parts=lambda: {"norm": layers.BatchNormalization(), **MLP["parts"]()})
def residual_after_norm(self, x, training=None):
    return self.norm(x + self.outer(self.inner(x)), training=training)


@odd("residual", weights={"alpha": ()}, **MLP)
def residual_of_zero(self, x):
    return x + self.alpha * self.outer(self.inner(x))


@odd("residual", weights={"scale": (WIDTH,)}, **MLP)
def layer_scale(self, x):
    return x + self.outer(self.inner(x)) * self.scale


@odd("residual", parts=lambda: {"first": dense(4, "relu"), "second": dense(4, "relu")})
def densely_connected(self, x):
    x = ops.concatenate([x, self.first(x)], axis=-1)
    return ops.concatenate([x, self.second(x)], axis=-1)


@odd("residual", parts=lambda: {"first": dense(4, "relu"), "second": dense(4, "relu")})
def densely_connected_by_a_list(self, x):
    outputs = [x]
    for part in (self.first, self.second):
        outputs.append(part(ops.concatenate(outputs, axis=-1)))
    return sum(ops.sum(each, axis=-1, keepdims=True) for each in outputs) + x


@odd("residual", **MLP)
def reversible(self, x):
    first, second = ops.split(x, 2, axis=-1)
    second = second + self.outer(self.inner(first))[:, :3]
    return ops.concatenate([second, first], axis=-1)


# --------------------------------------------------------------------------------------- gated
GATED = {"parts": lambda: {"value": dense(8), "gate": dense(8), "back": dense()}}


@odd("gated", **GATED)
def gated_linear_unit(self, x):
    return self.back(self.value(x) * ops.sigmoid(self.gate(x)))


@odd("gated", **GATED)
def swiglu(self, x):
    return self.back(self.value(x) * ops.silu(self.gate(x)))


@odd("gated", parts=lambda: {"both": dense(16), "back": dense()})
def geglu_by_split(self, x):
    value, gate = ops.split(self.both(x), 2, axis=-1)
    return self.back(value * keras.activations.gelu(gate))


@odd("gated", parts=lambda: {"both": dense(16), "back": dense()})
def glu_of_keras(self, x):
    return self.back(ops.glu(self.both(x)))


@odd("gated", parts=lambda: {"change": dense(6, "relu"), "carry": dense(6, "sigmoid")})
def highway(self, x):
    carry = self.carry(x)
    return carry * self.change(x) + (1 - carry) * x


@odd("gated", parts=lambda: {"gate": dense(1, "sigmoid"), "value": dense(6, "relu")})
def one_gate_for_all(self, x):
    return self.value(x) * self.gate(x)


@odd("gated", weights={"mix": (WIDTH,)}, parts=lambda: {"value": dense(6, "tanh")})
def learned_mix(self, x):
    share = ops.sigmoid(self.mix)
    return share * x + (1.0 - share) * self.value(x)


@odd("gated", parts=lambda: {"first": dense(6), "second": dense(6)})
def bilinear(self, x):
    return self.first(x) * self.second(x)


@odd("gated", on="sequence", parts=lambda: {"inner": dense(12, "gelu"), "along": layers.Dense(4)})
def spatial_gating(self, x):
    value, gate = ops.split(self.inner(x), 2, axis=-1)
    gate = ops.transpose(self.along(ops.transpose(gate, (0, 2, 1))), (0, 2, 1))
    return value * gate


# ------------------------------------------------------------------------ modulation and experts
@odd("modulation", parts=lambda: {"gamma": dense(), "beta": dense()},
     apply=lambda layer, x: layer(x, layers.Dense(3, activation="relu")(x)))  # fmt: skip
def film(self, x, condition):
    return x * (1 + self.gamma(condition)) + self.beta(condition)


@odd("modulation", on="image", parts=lambda: {"both": dense(12)},
     apply=lambda layer, x: layer([x, layers.GlobalAveragePooling2D()(x)]))  # fmt: skip
def film_on_images(self, inputs):
    x, condition = inputs
    gamma, beta = ops.split(self.both(condition)[:, None, None, :], 2, axis=-1)
    return x * gamma + beta


@odd("modulation", on="sequence",
     parts=lambda: {"norm": layers.LayerNormalization(scale=False), "both": dense(12)},
     apply=lambda layer, x: layer(x, condition=layers.GlobalAveragePooling1D()(x)))  # fmt: skip
def adaptive_norm(self, x, condition=None):
    shift, scale = ops.split(ops.expand_dims(self.both(condition), 1), 2, axis=-1)
    return self.norm(x) * (1 + scale) + shift


@odd("modulation", on="image", parts=lambda: {"style": dense()},
     apply=lambda layer, x: layer(x, layers.Flatten()(x)))  # fmt: skip
def instance_norm_by_hand(self, x, style):
    mean, variance = ops.moments(x, axes=(1, 2), keepdims=True)
    return (x - mean) / ops.sqrt(variance + 1e-3) * self.style(style)[:, None, None]


@odd("modulation", parts=lambda: {"make": dense(WIDTH * 3, "tanh")})
def hypernetwork(self, x):
    kernel = ops.reshape(self.make(x), (-1, WIDTH, 3))
    return ops.relu(ops.einsum("bi,bio->bo", x, kernel))


@odd("modulation", weights={"code": (1, 4)}, parts=lambda: {"make": dense(WIDTH * 5)})
def hypernetwork_of_a_code(self, x):
    kernel = ops.reshape(self.make(self.code), (WIDTH, 5))
    return ops.relu(ops.matmul(x, kernel))


EXPERTS = {"parts": lambda: {"router": dense(3), "experts": [dense(5, "relu") for _ in range(3)]}}


@odd("experts", **EXPERTS)
def mixture_of_experts(self, x):
    weights = ops.softmax(self.router(x))
    outputs = ops.stack([expert(x) for expert in self.experts], axis=1)
    return ops.sum(outputs * ops.expand_dims(weights, -1), axis=1)


@odd("experts", **EXPERTS)
def mixture_by_a_loop(self, x):
    weights = ops.softmax(self.router(x), axis=-1)
    return sum(weights[:, i : i + 1] * expert(x) for i, expert in enumerate(self.experts))


@odd("experts", **EXPERTS)
def top_expert(self, x):
    values, indices = ops.top_k(ops.softmax(self.router(x)), 2)
    chosen = ops.sum(ops.one_hot(indices, 3) * ops.expand_dims(values, -1), axis=1)
    return ops.einsum("be,bec->bc", chosen, ops.stack([e(x) for e in self.experts], axis=1))


@odd("experts", weights={"kernels": (3, WIDTH, 5)}, parts=lambda: {"router": dense(3, "softmax")})
def experts_by_einsum(self, x):
    outputs = ops.relu(ops.einsum("bi,eio->beo", x, self.kernels))
    return ops.einsum("be,beo->bo", self.router(x), outputs)


@odd("experts", **EXPERTS)
def experts_by_argmax(self, x):
    chosen = ops.one_hot(ops.argmax(self.router(x), axis=-1), 3)
    return sum(chosen[:, i, None] * expert(x) for i, expert in enumerate(self.experts))


@odd("experts", parts=lambda: {"pieces": dense(12)})
def maxout(self, x):
    return ops.max(ops.reshape(self.pieces(x), (-1, 6, 2)), axis=-1)


@odd("experts", parts=lambda: {"first": dense(), "second": dense()})
def maxout_of_two(self, x):
    return ops.maximum(self.first(x), self.second(x))


# -------------------------------------------------------------------- attention over channels
@odd(
    "channel attention",
    on="image",
    parts=lambda: {"down": dense(3, "relu"), "up": dense(6, "sigmoid")},
)
def squeeze_and_excite(self, x):
    return x * self.up(self.down(ops.mean(x, axis=(1, 2), keepdims=True)))


@odd(
    "channel attention",
    on="image",
    parts=lambda: {
        "pool": layers.GlobalAveragePooling2D(keepdims=True),
        "down": conv(3, 1, "relu"),
        "up": conv(6, 1, "sigmoid"),
    },
)
def squeeze_by_convolutions(self, x):
    return layers.multiply([x, self.up(self.down(self.pool(x)))])


@odd(
    "channel attention",
    on="image",
    parts=lambda: {
        "pool": layers.GlobalAveragePooling2D(),
        "down": dense(3, "relu"),
        "up": dense(6),
        "shape": layers.Reshape((1, 1, 6)),
    },
)
def squeeze_by_reshape(self, x):
    weights = ops.hard_sigmoid(self.up(self.down(self.pool(x))))
    return x * self.shape(weights)


@odd(
    "channel attention",
    on="image",
    parts=lambda: {"conv": layers.Conv1D(1, 3, padding="same", use_bias=False)},
)
def efficient_channel_attention(self, x):
    pooled = ops.expand_dims(ops.mean(x, axis=(1, 2)), -1)
    weights = ops.sigmoid(ops.squeeze(self.conv(pooled), -1))
    return x * weights[:, None, None, :]


@odd("channel attention", on="image", parts=lambda: {"conv": conv(1, 3, "sigmoid")})
def spatial_attention(self, x):
    mean = ops.mean(x, axis=-1, keepdims=True)
    most = ops.max(x, axis=-1, keepdims=True)
    return x * self.conv(ops.concatenate([mean, most], axis=-1))


@odd(
    "channel attention",
    on="image",
    parts=lambda: {"down": dense(3, "relu"), "up": dense(6), "conv": conv(1, 3, "sigmoid")},
)
def cbam(self, x):
    mean = self.up(self.down(ops.mean(x, axis=(1, 2))))
    most = self.up(self.down(ops.max(x, axis=(1, 2))))
    x = x * ops.sigmoid(mean + most)[:, None, None]
    pooled = [ops.mean(x, axis=-1, keepdims=True), ops.max(x, axis=-1, keepdims=True)]
    return x * self.conv(ops.concatenate(pooled, axis=-1))


@odd("channel attention", on="image", weights={"gamma": (6,), "beta": (6,)})
def global_response_norm(self, x):
    size = ops.sqrt(ops.sum(ops.square(x), axis=(1, 2), keepdims=True) + 1e-6)
    return self.gamma * (x * size / (ops.mean(size, axis=-1, keepdims=True) + 1e-6)) + self.beta + x
