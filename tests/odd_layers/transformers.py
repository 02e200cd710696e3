"""Blocks of transformers, patches, recurrence."""

import keras
from keras import layers, ops

from odd_layers.attention import attention
from odd_layers.blocks import dense
from odd_layers.catalogue import LENGTH, WIDTH, odd

# --------------------------------------------------------------------------- transformer blocks
BLOCK = {
    "on": "sequence",
    "parts": lambda: {
        "first_norm": layers.LayerNormalization(), "attention": attention(dropout=0.1),
        "second_norm": layers.LayerNormalization(), "drop": layers.Dropout(0.1),
        "mlp": keras.Sequential([dense(8, "gelu"), layers.Dropout(0.1), dense()]),
    },
}  # fmt: skip


@odd("transformer blocks", **BLOCK)
def pre_norm_block(self, x, training=None):
    normed = self.first_norm(x)
    x = x + self.drop(self.attention(normed, normed, training=training), training=training)
    return x + self.mlp(self.second_norm(x), training=training)


@odd("transformer blocks", **BLOCK)
def post_norm_block(self, x):
    x = self.first_norm(x + self.attention(x, x))
    return self.second_norm(x + self.drop(self.mlp(x)))


@odd("transformer blocks", **BLOCK)
def parallel_block(self, x):
    normed = self.first_norm(x)
    return x + self.attention(normed, normed) + self.mlp(normed)


@odd("transformer blocks", weights={"scale": (WIDTH,)}, **BLOCK)
def block_with_layer_scale(self, x):
    return x + self.scale * self.mlp(self.second_norm(x))


@odd(
    "transformer blocks",
    on="sequence",
    parts=lambda: {
        "norm": layers.RMSNormalization(),
        "gate": dense(8, "silu"),
        "up": dense(8),
        "down": dense(),
    },
)
def llama_mlp(self, x):
    normed = self.norm(x)
    return x + self.down(self.gate(normed) * self.up(normed))


@odd(
    "transformer blocks",
    on="sequence",
    parts=lambda: {"tokens": dense(LENGTH, "gelu"), "channels": dense(WIDTH, "gelu")},
)
def mixer_block(self, x):
    x = x + ops.transpose(self.tokens(ops.transpose(x, (0, 2, 1))), (0, 2, 1))
    return x + self.channels(x)


@odd("transformer blocks", on="sequence")
def fourier_mixing(self, x):
    return ops.real(ops.fft2((x, ops.zeros_like(x)))[0]) + x


@odd(
    "transformer blocks",
    on="sequence",
    parts=lambda: {
        "conv": layers.Conv1D(8, 3, padding="causal", activation="relu"),
        "back": dense(),
    },
)
def convolution_over_time(self, x):
    return x + self.back(self.conv(x))


@odd(
    "transformer blocks",
    on="image",
    weights={"positions": (1, 4, 5)},
    parts=lambda: {"patches": layers.Conv2D(5, 2, strides=2)},
)
def patch_embedding(self, x):
    return ops.reshape(self.patches(x), (-1, 4, 5)) + self.positions


@odd(
    "transformer blocks",
    on="image",
    weights={"token": (1, 1, 5)},
    parts=lambda: {"patches": layers.Conv2D(5, 2, strides=2), "flat": layers.Reshape((4, 5))},
)
def patches_and_token(self, x):
    x = self.flat(self.patches(x))
    return ops.concatenate([ops.broadcast_to(self.token, (ops.shape(x)[0], 1, 5)), x], axis=1)


@odd("transformer blocks", on="image", parts=lambda: {"project": dense(5)})
def patches_extracted(self, x):
    patches = ops.image.extract_patches(x, size=(2, 2), strides=(2, 2), padding="valid")
    return self.project(ops.reshape(patches, (ops.shape(x)[0], -1, patches.shape[-1])))


@odd("transformer blocks", on="sequence", parts=lambda: {"merge": dense(8, "relu")})
def merged_pairs(self, x):
    return self.merge(ops.concatenate([x[:, 0::2], x[:, 1::2]], axis=-1))


# ----------------------------------------------------------------------------------- recurrence
@odd("recurrence", on="sequence", parts=lambda: {"cell": layers.GRUCell(5)})
def cell_in_a_python_loop(self, x):
    state = ops.zeros_like(x[:, 0, :5])
    for index in range(LENGTH):
        _, (state,) = self.cell(x[:, index], [state])
    return state


@odd(
    "recurrence",
    whole="it derives values from its weights",
    on="sequence",
    parts=lambda: {"inner": dense(5), "again": dense(5)},
)
def recurrence_by_hand(self, x):
    state = ops.zeros((1, 5))
    for index in range(LENGTH):
        state = ops.tanh(self.inner(x[:, index]) + self.again(state))
    return state


@odd("recurrence", on="sequence", parts=lambda: {"inner": dense(5, "tanh")})
def loop_over_unstack(self, x):
    return ops.stack([self.inner(each) for each in ops.unstack(x, axis=1)], axis=1)


@odd(
    "recurrence",
    whole="it hands a function to an operation",
    on="sequence",
    parts=lambda: {"decay": dense(WIDTH, "sigmoid")},
)
def scan_over_time(self, x):
    decay = self.decay(x)

    def step(state, values):
        state = values[0] * state + (1 - values[0]) * values[1]
        return state, state

    times = ops.transpose(decay, (1, 0, 2)), ops.transpose(x, (1, 0, 2))
    _, states = ops.scan(step, ops.zeros_like(x[:, 0]), times)
    return ops.transpose(states, (1, 0, 2))


@odd("recurrence", on="sequence", parts=lambda: {"rnn": layers.LSTM(5, return_sequences=True)})
def lstm_inside(self, x):
    return self.rnn(x)


@odd(
    "recurrence",
    on="sequence",
    parts=lambda: {
        "rnn": layers.Bidirectional(layers.GRU(3, return_sequences=True)),
        "out": dense(),
    },
)
def both_directions_inside(self, x):
    return x + self.out(self.rnn(x))


@odd(
    "recurrence",
    on="sequence",
    parts=lambda: {"rnn": layers.LSTM(5, return_state=True), "out": dense()},
)
def states_of_an_lstm(self, x):
    output, hidden, cell = self.rnn(x)
    return self.out(output * cell + hidden)


@odd("recurrence", on="sequence")
def discounted_sum(self, x):
    weights = ops.reshape(ops.array([0.1, 0.2, 0.3, 0.4]), (1, LENGTH, 1))
    return ops.sum(x * weights, axis=1)
