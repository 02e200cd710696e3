"""What some layers do inside, as graphs of their own public parts.

The units of an attention layer, its heads, are inside the layer; so are those of the two layers
that `Bidirectional` merges. An expansion shows them: it calls the layer's own sub-layers, weights
and all, and public `keras.ops`. `graph.trace` inlines it as it inlines a nested model. A call that
an expansion would not repeat exactly stays one operation.
"""

import weakref
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

_EXPANSIONS: dict[type, Callable] = {}
# By node, for every expansion leaves calls behind in the sub-layers.
_expanded: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def register_expansion(kind: type) -> Callable[[Callable], Callable]:
    """Decorator that registers how the calls of a layer class, not of its subclasses, are expanded.

    Args:
        kind: The layer class.

    Returns:
        The decorator of a function that takes the layer and the arguments of a call, with
        `keras.KerasTensor` for tensors, and returns what the call returns, made by the layer's
        parts; or None if they would not do exactly the same.
    """

    def register(function: Callable) -> Callable:
        _EXPANSIONS[kind] = function
        return function

    return register


def expanded_layers() -> set[type]:
    """The layer classes whose calls are expanded."""
    return set(_EXPANSIONS)


def expand(node: Any) -> keras.Model | None:
    """The model of what a call of a layer does inside; None if that is one operation.

    Args:
        node: The node of the call in Keras's graph.

    Returns:
        A functional model. Its inputs stand for the call's tensors, in their flat order.
    """
    if node not in _expanded:
        _expanded[node] = _build_expansion(node)
    return _expanded[node]


def is_masked(tensor: keras.KerasTensor) -> bool:
    """Whether Keras sends a mask of time steps along with a tensor."""
    return getattr(tensor, "_keras_mask", None) is not None


def _build_expansion(node: Any) -> keras.Model | None:
    layer, tensors = node.operation, node.input_tensors
    function = _EXPANSIONS.get(type(layer))
    if function is None or not layer.built or any(map(is_masked, tensors)):
        return None
    inputs = [keras.Input(batch_shape=t.shape, dtype=t.dtype) for t in tensors]
    remaining = iter(inputs)
    args, kwargs = keras.tree.map_structure(
        lambda leaf: next(remaining) if isinstance(leaf, keras.KerasTensor) else leaf,
        (node.arguments.args, node.arguments.kwargs),
    )
    outputs = function(layer, *args, **kwargs)
    return None if outputs is None else keras.Model(inputs, outputs)


def _none_given(arguments: dict) -> bool:
    return all(value is None or value is False for value in arguments.values())


def _named(tensor: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """The tensor, its operation renamed: calls of `keras.ops` take no name."""
    tensor._keras_history.operation.name = name
    return tensor


# ----------------------------------------------------------------------------------- attention


@register_expansion(keras.layers.MultiHeadAttention)
def expand_attention(
    layer: keras.layers.MultiHeadAttention,
    query: keras.KerasTensor,
    value: keras.KerasTensor,
    key: keras.KerasTensor | None = None,
    attention_mask: Any = None,
    use_causal_mask: bool = False,
    training: bool | None = None,  # which `graph.trace` hands on to what is inside
    **others: Any,
) -> keras.KerasTensor | None:
    """Projections, one attention operation per head, projection.

    Not of calls that return the scores or are given Keras masks, nor of layers with gates, a
    sliding window, or an attention over several axes.
    """
    is_plain = _none_given(others) and not _has_private_parts(layer)
    if not is_plain or any(len(t.shape) != 3 for t in (query, value)):
        return None
    for part in ("query", "key", "value", "output"):
        getattr(layer, f"{part}_dense").name = f"{layer.name}_{part}"
    mask = None if attention_mask is None else _mask_over_heads(layer, attention_mask)
    if use_causal_mask and not _is_one_operation(layer):
        mask = _with_causal_mask(layer, query.shape[1], value.shape[1], mask)
        if mask is None:
            return None
    key = layer.key_dense(value if key is None else key)
    attend = _attend if _is_one_operation(layer) else _attend_in_steps
    heads = attend(
        layer, layer.query_dense(query), key, layer.value_dense(value), mask, use_causal_mask
    )
    return _tell_length(layer, layer.output_dense(_named(heads, layer.name)), query.shape[1])


def _has_private_parts(layer: keras.layers.MultiHeadAttention) -> bool:
    config = layer.get_config()
    return bool(config.get("use_gate") or config.get("sliding_window"))


def _is_one_operation(layer: keras.layers.MultiHeadAttention) -> bool:
    # The operation takes the values to be as wide as the queries when it tells its output's shape.
    return not layer.dropout and layer.get_config()["value_dim"] == layer.key_dim


def _tell_length(layer: keras.layers.Layer, output: keras.KerasTensor, length: int | None) -> Any:
    """The output, its length told, as the layer itself does: a Flatten may need to know it."""
    if length is None:
        return output
    shape, name = (length, *output.shape[2:]), f"{layer.name}_length"
    return keras.layers.Reshape(shape, dtype=layer.dtype_policy, name=name)(output)


def _mask_over_heads(layer: keras.layers.Layer, mask: Any) -> Any:
    """A mask (B, T, S) or (T, S) as bool (B, 1, T, S), the second axis being the heads'."""
    if not isinstance(mask, keras.KerasTensor):
        mask = ops.convert_to_numpy(mask).astype(bool)
        return mask.reshape((1,) * (3 - mask.ndim) + mask.shape)[:, None] if mask.ndim < 4 else mask
    while len(mask.shape) < 4:
        mask = _named(ops.expand_dims(mask, -3), f"{layer.name}_mask_axis")
    return _named(ops.cast(mask, "bool"), f"{layer.name}_mask")


def _with_causal_mask(layer: keras.layers.Layer, queries: int, keys: int, mask: Any) -> Any:
    """The mask and a causal one; None if its size is not known."""
    if None in (queries, keys):
        return None
    causal = np.tri(queries, keys, dtype=bool)[None, None]
    if not isinstance(mask, keras.KerasTensor):
        return causal if mask is None else mask & causal
    return _named(ops.logical_and(mask, causal), f"{layer.name}_causal_mask")


def _attend(layer, query, key, value, mask, causal):
    """Attention as one operation, which chooses the fastest way."""
    scale = 1 / layer.key_dim**0.5
    return ops.dot_product_attention(query, key, value, mask=mask, scale=scale, is_causal=causal)


def _attend_in_steps(layer, query, key, value, mask, causal):
    """Attention with dropout on the weights; a causal mask is in the mask."""
    name, dtype = layer.name, layer.dtype_policy
    scaled = _named(query * (1 / layer.key_dim**0.5), f"{name}_scale")
    scores = _named(ops.einsum("aecd,abcd->acbe", key, scaled), f"{name}_scores")
    weights = keras.layers.Softmax(dtype=dtype, name=f"{name}_softmax")(scores, mask=mask)
    if layer.dropout:
        dropout = keras.layers.Dropout(
            layer.dropout, seed=layer.seed, dtype=dtype, name=f"{name}_dropout"
        )
        weights = dropout(weights)
    return ops.einsum("acbe,aecd->abcd", weights, value)


# ------------------------------------------------------------------------------- both directions


@register_expansion(keras.layers.Bidirectional)
def expand_bidirectional(
    layer: keras.layers.Bidirectional,
    sequences: keras.KerasTensor,
    training: bool | None = None,  # as above
    **others: Any,
) -> keras.KerasTensor | tuple | None:
    """The forward and the backward layer, and the merging of their outputs.

    Not of calls with an initial state or a mask, nor of layers that return or keep their states.
    """
    parts = layer.forward_layer, layer.backward_layer
    one_dtype = {layer.compute_dtype} == {part.compute_dtype for part in parts}
    if not (_none_given(others) and one_dtype) or layer.return_state or layer.stateful:
        return None
    forward, backward = (part(sequences) for part in parts)
    if layer.return_sequences:
        backward = _named(ops.flip(backward, axis=1), f"{layer.name}_flip")
    if layer.merge_mode is None:
        return forward, backward
    return _named(_merge(layer, forward, backward), layer.name)


def _merge(layer, forward, backward):
    if layer.merge_mode == "concat":
        return ops.concatenate([forward, backward], axis=-1)
    if layer.merge_mode == "mul":
        return forward * backward
    total = forward + backward
    if layer.merge_mode == "sum":
        return total
    return _named(total, f"{layer.name}_sum") * 0.5
