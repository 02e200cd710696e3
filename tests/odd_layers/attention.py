"""Attention, by hand and by Keras."""

import numpy as np
from keras import layers, ops

from odd_layers.blocks import dense
from odd_layers.catalogue import LENGTH, WIDTH, odd

HEADS, SIZE = 2, 3


def attention(**kwargs):
    return layers.MultiHeadAttention(HEADS, SIZE, **kwargs)


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
