"""Tokens and positions, as at the beginning of a transformer."""

import numpy as np
from keras import layers, ops

from odd_layers.blocks import dense
from odd_layers.catalogue import LENGTH, WIDTH, WORDS, odd


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
