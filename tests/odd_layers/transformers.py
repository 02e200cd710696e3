"""Parts of transformers: tokens, positions, attention, blocks, patches; cells of recurrent layers."""

import keras
import numpy as np
from keras import layers, ops
from odd_layers.blocks import dense
from odd_layers.catalogue import LENGTH, WIDTH, WORDS, odd

HEADS, SIZE = 2, 3


def attention(**kwargs):
    return layers.MultiHeadAttention(HEADS, SIZE, **kwargs)


# ------------------------------------------------------------------------ tokens and positions
def one_more(self, shape):
    return shape[0], shape[1] + 1, *shape[2:]


@odd("tokens", on="sequence", weights={"token": (1, 1, WIDTH)})
def class_token_by_tile(self, x):
    return ops.concatenate([ops.tile(self.token, (ops.shape(x)[0], 1, 1)), x], axis=1)


@odd("tokens", on="sequence", weights={"token": (1, 1, WIDTH)})
def class_token_by_broadcast(self, x):
    token = ops.broadcast_to(self.token, (ops.shape(x)[0], 1, WIDTH))
    return ops.concatenate([token, x], axis=1)


@odd("tokens", on="sequence", weights={"token": (1, 1, WIDTH)}, compute_output_shape=one_more)
def class_token_by_repeat(self, x):
    return ops.concatenate([ops.repeat(self.token, ops.shape(x)[0], axis=0), x], axis=1)


@odd("tokens", on="sequence", weights={"token": (1, 1, WIDTH)})
def class_token_by_zeros(self, x):
    return ops.concatenate([ops.zeros_like(x[:, :1]) + self.token, x], axis=1)


@odd("tokens", on="sequence", weights={"registers": (3, WIDTH)})
def register_tokens(self, x):
    tokens = ops.tile(ops.expand_dims(self.registers, 0), (ops.shape(x)[0], 1, 1))
    return ops.concatenate([x, tokens], axis=1)[:, 1:]


@odd("tokens", on="sequence")
def token_taken(self, x):
    return x[:, 0]


@odd("tokens", on="ids", parts=lambda: {"table": layers.Embedding(WORDS, WIDTH)})
def scaled_embedding(self, ids):
    return self.table(ids) * float(np.sqrt(WIDTH))


@odd("tokens", on="ids", weights={"table": (WORDS, WIDTH)})
def embedding_by_take(self, ids):
    return ops.take(self.table, ids, axis=0)


@odd("tokens", on="ids", weights={"table": (WORDS, WIDTH)})
def embedding_by_one_hot(self, ids):
    return ops.matmul(ops.one_hot(ids, WORDS), self.table)


@odd("tokens", on="ids", parts=lambda: {"table": layers.Embedding(WORDS, 3), "wide": dense(WIDTH)})
def factorized_embedding(self, ids):
    return self.wide(self.table(ids))


@odd(
    "tokens",
    on="ids",
    parts=lambda: {
        "words": layers.Embedding(WORDS, WIDTH),
        "places": layers.Embedding(LENGTH, WIDTH),
    },
)
def words_and_positions(self, ids):
    return self.words(ids) + self.places(ops.arange(LENGTH))


@odd(
    "tokens",
    on="ids",
    parts=lambda: {"words": layers.Embedding(WORDS, WIDTH), "places": layers.Embedding(8, WIDTH)},
)
def words_and_positions_of_the_length(self, ids):
    return self.words(ids) + self.places(ops.arange(0, ops.shape(ids)[-1], 1))


@odd(
    "tokens",
    on="ids",
    parts=lambda: {
        "words": layers.Embedding(WORDS, WIDTH, mask_zero=True),
        "norm": layers.LayerNormalization(),
    },
)
def words_that_send_a_mask(self, ids):
    return self.norm(self.words(ids))


@odd("positions", on="sequence", weights={"positions": (LENGTH, WIDTH)})
def learned_positions(self, x):
    return x + self.positions


@odd("positions", on="sequence", weights={"positions": (9, WIDTH)})
def learned_positions_cut(self, x):
    return x + self.positions[: x.shape[1]]


@odd(
    "positions",
    whole="it does not run on random inputs",
    on="open",
    weights={"positions": (9, WIDTH)},
    compute_output_shape=lambda self, shape: shape,
)
def learned_positions_of_any_length(self, x):
    return x + self.positions[: ops.shape(x)[1]]


def waves():
    angles = np.arange(LENGTH)[:, None] / 100.0 ** (np.arange(0, WIDTH, 2) / WIDTH)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype("float32")


@odd("positions", on="sequence")
def sine_positions_as_a_constant(self, x):
    return x + ops.convert_to_tensor(waves())


@odd("positions", on="sequence", parts=lambda: {"table": ops.convert_to_tensor(waves())})
def sine_positions_as_an_attribute(self, x):
    return x + self.table[None]


@odd("positions", on="sequence")
def sine_positions_in_the_call(self, x):
    places = ops.expand_dims(ops.cast(ops.arange(x.shape[1]), "float32"), -1)
    angles = places / ops.power(100.0, ops.cast(ops.arange(0, WIDTH, 2), "float32") / WIDTH)
    return x + ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1)


@odd("positions", whole="its graph depends on the batch size", on="open")
def sine_positions_of_any_length(self, x):
    places = ops.cast(ops.arange(ops.shape(x)[1]), "float32")
    return x + ops.sin(places)[None, :, None]


@odd("positions", on="open")
def positions_by_cumsum(self, x):
    places = ops.cumsum(ops.ones_like(x[..., :1]), axis=1)
    return x + ops.sin(places)


def rotated(x):
    places = np.arange(LENGTH)[:, None] / 10.0 ** np.arange(0, WIDTH // 2)
    cos, sin = np.cos(places).astype("float32"), np.sin(places).astype("float32")
    first, second = ops.split(x, 2, axis=-1)
    return ops.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


@odd("positions", on="sequence")
def rotary_positions(self, x):
    return rotated(x)


@odd("positions", on="sequence", parts=lambda: {"query": dense(), "key": dense(), "value": dense()})
def rotary_attention(self, x):
    scores = ops.matmul(rotated(self.query(x)), ops.transpose(rotated(self.key(x)), (0, 2, 1)))
    return ops.matmul(ops.softmax(scores), self.value(x))


# ----------------------------------------------------------------------------------- attention
QKV = {"parts": lambda: {"qkv": dense(18, use_bias=False), "out": dense()}}


def split_heads(x):
    return ops.transpose(ops.reshape(x, (-1, LENGTH, HEADS, SIZE)), (0, 2, 1, 3))


def merge_heads(x):
    return ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (-1, LENGTH, HEADS * SIZE))


@odd("attention", on="sequence", **QKV)
def attention_by_hand(self, x):
    query, key, value = (split_heads(each) for each in ops.split(self.qkv(x), 3, axis=-1))
    scores = ops.matmul(query, ops.swapaxes(key, -2, -1)) / SIZE**0.5
    return self.out(merge_heads(ops.matmul(ops.softmax(scores, axis=-1), value)))


@odd("attention", on="sequence", weights={"bias": (1, HEADS, LENGTH, LENGTH)}, **QKV)
def relative_position_bias(self, x):
    query, key, value = (split_heads(each) for each in ops.split(self.qkv(x), 3, axis=-1))
    scores = ops.einsum("bhqd,bhkd->bhqk", query, key) + self.bias
    return self.out(merge_heads(ops.einsum("bhqk,bhkd->bhqd", ops.softmax(scores), value)))


@odd(
    "attention",
    whole="it derives values from its weights",
    on="sequence",
    weights={"table": (7, HEADS)},
    **QKV,
)
def relative_position_table(self, x):
    query, key, value = (split_heads(each) for each in ops.split(self.qkv(x), 3, axis=-1))
    index = np.arange(LENGTH)[:, None] - np.arange(LENGTH)[None] + 3
    bias = ops.transpose(ops.take(self.table, index, axis=0), (2, 0, 1))[None]
    scores = ops.matmul(query, ops.swapaxes(key, -2, -1)) + bias
    return self.out(merge_heads(ops.matmul(ops.softmax(scores), value)))


@odd("attention", on="sequence", weights={"temperature": (HEADS, 1, 1)}, **QKV)
def cosine_attention(self, x):
    query, key, value = (split_heads(each) for each in ops.split(self.qkv(x), 3, axis=-1))
    query, key = (each / (ops.norm(each, axis=-1, keepdims=True) + 1e-6) for each in (query, key))
    scores = ops.matmul(query, ops.swapaxes(key, -2, -1)) * ops.exp(self.temperature)
    return self.out(merge_heads(ops.matmul(ops.softmax(scores), value)))


@odd("attention", on="sequence", **QKV)
def causal_attention(self, x):
    query, key, value = (split_heads(each) for each in ops.split(self.qkv(x), 3, axis=-1))
    mask = ops.tril(ops.ones((LENGTH, LENGTH)))
    scores = ops.matmul(query, ops.swapaxes(key, -2, -1)) - 1e9 * (1.0 - mask)
    return self.out(merge_heads(ops.matmul(ops.softmax(scores), value)))


@odd("attention", on="sequence", **QKV)
def linear_attention(self, x):
    query, key, value = (split_heads(each) for each in ops.split(self.qkv(x), 3, axis=-1))
    state = ops.einsum("bhkd,bhke->bhde", ops.elu(key) + 1, value)
    return self.out(merge_heads(ops.einsum("bhqd,bhde->bhqe", ops.elu(query) + 1, state)))


@odd("attention", on="sequence", **QKV)
def fused_attention(self, x):
    parts = ops.split(self.qkv(x), 3, axis=-1)
    query, key, value = (ops.reshape(each, (-1, LENGTH, HEADS, SIZE)) for each in parts)
    heads = ops.dot_product_attention(query, key, value)
    return self.out(ops.reshape(heads, (-1, LENGTH, HEADS * SIZE)))


@odd(
    "attention",
    on="sequence",
    parts=lambda: {"attention": attention(), "norm": layers.LayerNormalization()},
    apply=lambda layer, x: layer(x, context=layers.Dense(5)(x)),
)
def cross_attention(self, x, context=None):
    return x + self.attention(query=self.norm(x), value=context, key=context)


@odd("attention", on="sequence", parts=lambda: {"attention": attention()})
def self_attention_with_scores(self, x):
    output, scores = self.attention(x, x, return_attention_scores=True)
    return output, ops.mean(scores, axis=1)


@odd("attention", on="sequence", parts=lambda: {"attention": attention()})
def attention_with_a_causal_mask(self, x):
    return self.attention(x, x, use_causal_mask=True)


@odd(
    "attention",
    on="sequence",
    parts=lambda: {"attention": attention()},
    apply=lambda layer, x: layer(x, layers.Dense(LENGTH)(x) > 0),
)
def attention_with_a_mask(self, x, mask):
    return self.attention(x, x, attention_mask=mask)


@odd("attention", on="sequence", parts=lambda: {"score": dense(1)})
def attention_pooling(self, x):
    return ops.sum(ops.softmax(self.score(x), axis=1) * x, axis=1)


@odd(
    "attention",
    on="sequence",
    weights={"query": (1, 2, WIDTH)},
    parts=lambda: {"attention": attention()},
)
def pooling_by_queries(self, x):
    queries = ops.tile(self.query, (ops.shape(x)[0], 1, 1))
    return self.attention(queries, x)


@odd("attention", on="sequence", parts=lambda: {"attend": layers.Attention(use_scale=True)})
def attention_of_keras(self, x):
    return self.attend([x, x])


@odd("attention", on="sequence", parts=lambda: {"attend": layers.GroupQueryAttention(4, 4, 2)})
def grouped_queries(self, x):
    return self.attend(x, x)


@odd("attention", on="sequence", **QKV)
def windows_in_the_batch(self, x):
    windows = ops.reshape(x, (-1, 2, WIDTH))
    mixed = self.out(ops.mean(windows, axis=1, keepdims=True)) + windows
    return ops.reshape(mixed, (-1, LENGTH, WIDTH))


@odd("attention", on="image", parts=lambda: {"mix": dense()})
def windows_of_an_image(self, x):
    x = ops.transpose(ops.reshape(x, (-1, 2, 2, 2, 2, WIDTH)), (0, 1, 3, 2, 4, 5))
    windows = ops.reshape(x, (-1, 4, 4, WIDTH))
    windows = windows + self.mix(ops.mean(windows, axis=2, keepdims=True))
    x = ops.transpose(ops.reshape(windows, (-1, 2, 2, 2, 2, WIDTH)), (0, 1, 3, 2, 4, 5))
    return ops.reshape(x, (-1, 4, 4, WIDTH))


@odd("attention", on="image")
def shifted_image(self, x):
    return ops.relu(ops.roll(x, shift=(-1, -1), axis=(1, 2)))


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
