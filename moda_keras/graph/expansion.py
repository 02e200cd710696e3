"""Expands some Keras layers into steps of their public parts.

The units of an attention layer, its heads, are inside the layer; so are those of the two layers
that `Bidirectional` merges. An expansion shows them: it records calls of the layer's own
sub-layers, weights and all, and of public `keras.ops`. A call that an expansion would not repeat
exactly stays one operation.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from moda_keras.graph.channel_axes import last_axis
from moda_keras.graph.graph import Step, Tensor
from moda_keras.graph.operations import accepts_training
from moda_keras.layers.time_mask import TimeMask

_EXPANSIONS: dict[type, Callable] = {}


class Recorder:
    """Records calls as steps. It leaves no node on the layers that it calls.

    Args:
        steps: The steps so far; calls are appended.
        training: The mode that the surrounding model asks for, or None.
        masks: By tensor, masks of time steps, as of `Graph`; those of new tensors are added.
    """

    def __init__(
        self,
        steps: list[Step],
        training: bool | None,
        masks: dict[Tensor, Tensor] | None = None,
    ):
        self.steps = steps
        self.training = training
        self.masks = {} if masks is None else masks

    def layer(self, layer: keras.layers.Layer, *args: Any, name: str = "", **kwargs: Any) -> Tensor:
        """Records the call of a layer that puts out one tensor.

        Args:
            layer: A built layer, or one without weights.
            *args: Call arguments, with a `Tensor` for each tensor.
            name: Name of the step; by default that of the layer.
            **kwargs: Keyword arguments of the call, likewise.

        Returns:
            The output.
        """
        specs = keras.tree.map_structure(
            lambda leaf: leaf.keras_tensor if isinstance(leaf, Tensor) else leaf, (args, kwargs)
        )
        output = _tensor(layer.compute_output_spec(*specs[0], **specs[1]))
        if self.training is not None and accepts_training(layer):
            kwargs = {"training": self.training, **kwargs}
        self.steps.append(Step(layer, args, kwargs, [output], name))
        return output

    def operation(self, function: Callable, *args: Any, name: str = "", **kwargs: Any) -> Tensor:
        """Records the call of a function of `keras.ops` that puts out one tensor.

        Args:
            function: The function.
            *args: Call arguments, with a `Tensor` for each tensor.
            name: Name of the step; by default the one that Keras gives.
            **kwargs: Keyword arguments, likewise.

        Returns:
            The output.
        """
        tensors: dict[int, Tensor] = {}

        def stand_in(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return leaf
            spec = keras.KerasTensor(leaf.shape, dtype=leaf.keras_tensor.dtype)
            tensors[id(spec)] = leaf
            return spec

        # The nodes of this call are on the new operation alone.
        args, kwargs = keras.tree.map_structure(stand_in, (args, kwargs))
        result = function(*args, **kwargs)
        operation = result._keras_history.operation
        arguments = operation._inbound_nodes[0].arguments
        recorded = keras.tree.map_structure(
            lambda leaf: tensors.get(id(leaf), leaf), (arguments.args, arguments.kwargs)
        )
        output = _tensor(result)
        self.steps.append(Step(operation, *recorded, [output], name))
        return output


def _tensor(spec: keras.KerasTensor) -> Tensor:
    return Tensor(spec, last_axis(spec))


def register_expansion(kind: type) -> Callable[[Callable], Callable]:
    """Decorator that registers how the calls of a layer class, not of its subclasses, are expanded.

    Args:
        kind: The layer class.

    Returns:
        The decorator of a function that takes a `Recorder`, the layer and the arguments of a call,
        with a `Tensor` for each tensor. It records the steps of the call and returns the output, or
        a tuple of outputs; if it cannot reproduce the call, it records nothing and returns None.
    """

    def register(function: Callable) -> Callable:
        _EXPANSIONS[kind] = function
        return function

    return register


def expanded_layers() -> set[type]:
    """The layer classes whose calls are expanded."""
    return set(_EXPANSIONS)


def expand(
    steps: list[Step],
    layer: Any,
    args: tuple,
    kwargs: dict,
    training: bool | None,
    masks: dict[Tensor, Tensor] | None = None,
) -> list[Tensor] | None:
    """Appends the steps inside a layer call, and returns the outputs.

    Args:
        steps: The steps so far.
        layer: The layer.
        args: Positional arguments of the call, with a `Tensor` for each tensor.
        kwargs: Keyword arguments, likewise.
        training: The mode that the surrounding model asks for, or None.
        masks: As of `Recorder`.

    Returns:
        The outputs, flat; None if the call stays one operation, and nothing was appended.
    """
    function = _EXPANSIONS.get(type(layer))
    if function is None or not layer.built:
        return None
    mode = training if kwargs.get("training") is None else kwargs["training"]
    kwargs = {name: value for name, value in kwargs.items() if name != "training"}
    outputs = function(Recorder(steps, mode, masks), layer, *args, **kwargs)
    return None if outputs is None else keras.tree.flatten(outputs)


def _none_given(arguments: dict) -> bool:
    return all(value is None or value is False for value in arguments.values())


# ----------------------------------------------------------------------------------- attention


@register_expansion(keras.layers.MultiHeadAttention)
def expand_attention(
    record: Recorder,
    layer: keras.layers.MultiHeadAttention,
    query: Tensor,
    value: Tensor,
    key: Tensor | None = None,
    query_mask: Tensor | None = None,
    value_mask: Tensor | None = None,
    key_mask: Tensor | None = None,
    attention_mask: Any = None,
    use_causal_mask: bool = False,
    **others: Any,
) -> Tensor | None:
    """Projections, one attention operation per head, projection.

    Not of calls that return the scores, nor of layers with gates, a sliding window, or an attention
    over several axes.
    """
    is_plain = _none_given(others) and not _has_private_parts(layer)
    if not is_plain or any(len(t.shape) != 3 for t in (query, value)):
        return None
    time_masks = [(query_mask, -1), (value_mask, -2), (key_mask, -2)]
    is_masked = any(mask is not None for mask, _ in time_masks)
    if is_masked and attention_mask is not None and len(attention_mask.shape) > 3:
        return None
    # Where all keys of a query are masked, Keras's own operation has a result of its own: with
    # masks it is what runs, and of values of another width too.
    may_be_empty = is_masked or attention_mask is not None
    is_one = not layer.dropout and (may_be_empty or not _extra_width(layer))
    lengths = (query.shape[1], value.shape[1])
    # Given both, some versions of Keras's own operation look at one of them alone.
    merges_masks = use_causal_mask and (attention_mask is not None or not is_one)
    if use_causal_mask and (merges_masks or is_masked) and None in lengths:
        return None
    if is_masked:
        merges_masks = use_causal_mask
        attention_mask = _with_time_masks(record, layer, time_masks, attention_mask)
    mask = None if attention_mask is None else _mask_over_heads(record, layer, attention_mask)
    if merges_masks:
        mask = _with_causal_mask(record, layer, *lengths, mask)
    projected = {
        part: record.layer(getattr(layer, f"{part}_dense"), tensor, name=f"{layer.name}_{part}")
        for part, tensor in (("key", value if key is None else key), ("query", query),
                             ("value", value))
    }  # fmt: skip
    attend = _attend if is_one else _attend_in_steps
    heads = attend(record, layer, **projected, mask=mask, causal=use_causal_mask and mask is None)
    output = record.layer(layer.output_dense, heads, name=f"{layer.name}_output")
    output = _with_known_length(record, layer, output, query.shape[1])
    return output if query_mask is None else _with_mask(record, layer, output, query_mask)


def _has_private_parts(layer: keras.layers.MultiHeadAttention) -> bool:
    config = layer.get_config()
    return bool(config.get("use_gate") or config.get("sliding_window"))


def _extra_width(layer: keras.layers.MultiHeadAttention) -> int:
    """How much wider the values of a head are than its keys and queries; may be negative."""
    return layer.get_config()["value_dim"] - layer.key_dim


def _with_known_length(
    record: Recorder, layer: keras.layers.Layer, output: Tensor, length: int | None
) -> Tensor:
    """The output with the length known to the layer: a Flatten may need it."""
    if length is None:
        return output
    name = f"{layer.name}_length"
    reshape = keras.layers.Reshape((length, *output.shape[2:]), dtype=layer.dtype_policy, name=name)
    return record.layer(reshape, output)


def _with_mask(
    record: Recorder, layer: keras.layers.Layer, sequence: Tensor, mask: Tensor, suffix: str = ""
) -> Tensor:
    """The sequence with a mask that Keras sends along, as the layer does."""
    time_mask = TimeMask(dtype=layer.dtype_policy, name=f"{layer.name}_time_mask{suffix}")
    output = record.layer(time_mask, [sequence, mask])
    record.masks[output] = mask
    return output


def _with_time_masks(
    record: Recorder, layer: keras.layers.Layer, masks: list[tuple], attention_mask: Any
) -> Tensor:
    """The mask of an attention (B, T, S): masks (B, T) and (B, S), and what else is not seen.

    `masks` are pairs of a mask or None, and the axis of (B, T, S) that it does not have.
    """
    name = f"{layer.name}_time_mask"
    merged = None
    if isinstance(attention_mask, Tensor):
        merged = record.operation(ops.cast, attention_mask, "bool", name=f"{name}_given")
    elif attention_mask is not None:
        merged = ops.convert_to_numpy(attention_mask).astype(bool)
    for mask, axis in masks:
        if mask is None:
            continue
        mask = record.operation(ops.cast, mask, "bool", name=f"{name}_bool")
        mask = record.operation(ops.expand_dims, mask, axis, name=f"{name}_axis")
        if merged is not None:
            mask = record.operation(ops.logical_and, mask, merged, name=f"{name}_merged")
        merged = mask
    return merged


def _mask_over_heads(record: Recorder, layer: keras.layers.Layer, mask: Any) -> Any:
    """A mask (B, T, S) or (T, S) as bool (B, 1, T, S), the second axis being the heads'."""
    if not isinstance(mask, Tensor):
        mask = ops.convert_to_numpy(mask).astype(bool)
        return mask.reshape((1,) * (3 - mask.ndim) + mask.shape)[:, None] if mask.ndim < 4 else mask
    while len(mask.shape) < 4:
        mask = record.operation(ops.expand_dims, mask, -3, name=f"{layer.name}_mask_axis")
    return record.operation(ops.cast, mask, "bool", name=f"{layer.name}_mask")


def _with_causal_mask(
    record: Recorder, layer: keras.layers.Layer, queries: int, keys: int, mask: Any
) -> Any:
    causal = np.tri(queries, keys, dtype=bool)[None, None]
    if not isinstance(mask, Tensor):
        return causal if mask is None else mask & causal
    return record.operation(ops.logical_and, mask, causal, name=f"{layer.name}_causal_mask")


def _attend(record, layer, query, key, value, mask, causal):
    """Attention as one operation, which chooses the fastest way.

    It assumes values as wide as the queries when it computes its output's shape, and with JAX when
    it runs: zeros make them so, which changes no product.
    """
    extra = _extra_width(layer)
    if extra > 0:
        query = _widened(record, query, extra, name=f"{layer.name}_wide_query")
        key = _widened(record, key, extra, name=f"{layer.name}_wide_key")
    if extra < 0:
        value = _widened(record, value, -extra, name=f"{layer.name}_wide_value")
    heads = record.operation(
        ops.dot_product_attention,
        query,
        key,
        value,
        mask=mask,
        scale=1 / layer.key_dim**0.5,
        is_causal=causal,
        name=layer.name,
    )
    if extra >= 0:
        return heads
    narrow = (..., slice(layer.get_config()["value_dim"]))
    return record.operation(ops.get_item, heads, narrow, name=f"{layer.name}_narrow")


def _widened(record: Recorder, heads: Tensor, extra: int, name: str) -> Tensor:
    """Heads (batch, time, heads, size) with zeros at the end of each."""
    return record.operation(ops.pad, heads, ((0, 0), (0, 0), (0, 0), (0, extra)), name=name)


def _attend_in_steps(record, layer, query, key, value, mask, causal):
    """Attention with dropout on the weights; a causal mask is in the mask."""
    name = layer.name
    scaled = record.operation(ops.multiply, query, 1 / layer.key_dim**0.5, name=f"{name}_scale")
    scores = record.operation(ops.einsum, "aecd,abcd->acbe", key, scaled, name=f"{name}_scores")
    softmax = keras.layers.Softmax(dtype=layer.dtype_policy, name=f"{name}_softmax")
    weights = record.layer(softmax, scores, **({} if mask is None else {"mask": mask}))
    if layer.dropout:
        # Private, and the same in Keras 3.14 to 3.15: its seed is a variable that the model knows.
        weights = record.layer(layer._dropout_layer, weights, name=f"{name}_dropout")
    return record.operation(ops.einsum, "acbe,aecd->abcd", weights, value, name=name)


# ------------------------------------------------------------------------------- both directions


@register_expansion(keras.layers.Bidirectional)
def expand_bidirectional(
    record: Recorder,
    layer: keras.layers.Bidirectional,
    sequences: Tensor,
    mask: Tensor | None = None,
    **others: Any,
) -> Tensor | tuple[Tensor, Tensor] | None:
    """The forward and the backward layer, and the merging of their outputs.

    Not of calls with an initial state, nor of layers that return or keep their states.
    """
    parts = layer.forward_layer, layer.backward_layer
    one_dtype = {layer.compute_dtype} == {part.compute_dtype for part in parts}
    if not (_none_given(others) and one_dtype) or layer.return_state or layer.stateful:
        return None
    given = {} if mask is None else {"mask": mask}
    forward, backward = (record.layer(part, sequences, **given) for part in parts)
    if layer.return_sequences:
        backward = record.operation(ops.flip, backward, axis=1, name=f"{layer.name}_flip")
    is_masked = mask is not None and layer.return_sequences
    if layer.merge_mode is None:
        if is_masked:
            forward = _with_mask(record, layer, forward, mask, "_forward")
            backward = _with_mask(record, layer, backward, mask, "_backward")
        return forward, backward
    merged = _merge(record, layer, forward, backward)
    return _with_mask(record, layer, merged, mask) if is_masked else merged


def _merge(record, layer, forward, backward):
    name = layer.name
    if layer.merge_mode == "concat":
        return record.operation(ops.concatenate, [forward, backward], axis=-1, name=name)
    if layer.merge_mode == "mul":
        return record.operation(ops.multiply, forward, backward, name=name)
    if layer.merge_mode == "sum":
        return record.operation(ops.add, forward, backward, name=name)
    total = record.operation(ops.add, forward, backward, name=f"{name}_sum")
    return record.operation(ops.multiply, total, 0.5, name=name)
