"""Which axis of each tensor holds its channels."""

import keras

from moda_keras.graph.einsum_labels import einsum_labels
from moda_keras.graph.graph import Graph, Step, Tensor
from moda_keras.graph.operations import kind_of
from moda_keras.layers.parameter import Parameter


def assign_channel_axes(graph: Graph) -> None:
    """Says for every tensor which axis holds its channels.

    Layers with a `data_format` say so themselves; others keep the axis of an input of equal rank.
    """
    first = {
        len(step.outputs[0].shape)
        for step in graph.steps
        if getattr(step.operation, "data_format", None) == "channels_first"
    }
    for tensor in graph.inputs:
        if len(tensor.shape) in first and len(tensor.shape) > 2:
            tensor.channel_axis = 1
    for step in graph.steps:
        for tensor in step.outputs:
            tensor.channel_axis = _channel_axis(step, tensor)
        _fill_in_lengths(step)


def last_axis(tensor: keras.KerasTensor) -> int:
    """The last axis; 0 of a scalar."""
    return max(len(tensor.shape) - 1, 0)


def _channel_axis(step: Step, tensor: Tensor) -> int:
    rank, operation = len(tensor.shape), step.operation
    if rank <= 2:
        return max(rank - 1, 0)
    if isinstance(operation, keras.layers.TimeDistributed):
        inner = at_one_time(step)
        return 1 + _channel_axis(inner, inner.outputs[0])
    if isinstance(operation, Parameter):
        long = [axis for axis, length in enumerate(tensor.shape) if length != 1]
        return long[0] if len(long) == 1 else rank - 1
    if kind_of(operation) in _AXIS_FINDERS:
        return _AXIS_FINDERS[kind_of(operation)](step)
    data_format = getattr(operation, "data_format", None)
    if data_format:
        is_over_time = isinstance(operation, keras.layers.RNN) and operation.return_sequences
        first = 2 if is_over_time and tensor is step.outputs[0] else 1
        return first if data_format == "channels_first" else rank - 1
    if isinstance(operation, keras.layers.BatchNormalization):
        return operation.axis % rank
    if isinstance(operation, (keras.layers.Dense, keras.layers.RNN, keras.layers.Bidirectional)):
        return rank - 1
    same_rank = [t.channel_axis for t in step.inputs if len(t.shape) == rank]
    if not same_rank:
        return rank - 1
    if isinstance(operation, keras.layers.Permute):
        return (0, *operation.dims).index(same_rank[0])
    return same_rank[0]


def _channel_axis_of_einsum_dense(step: Step) -> int:
    """The first axis that the kernel brings in: of a projection to heads, that of the heads."""
    source, _, result = labels_of_einsum_dense(step)
    new = [label for label in result if label not in source]
    return result.index(new[0]) if new else len(result) - 1


def _channel_axis_of_einsum(step: Step) -> int:
    """Where the channels of the first tensor go."""
    tensor, output = step.inputs[0], step.outputs[0]
    labels = labels_of_einsum(step)
    if labels is None:
        return last_axis(output)
    label = labels[0][0][tensor.channel_axis]
    return labels[1].index(label) if label in labels[1] else last_axis(output)


def _channel_axis_of_transpose(step: Step) -> int:
    rank = len(step.outputs[0].shape)
    axes = [axis % rank for axis in step.operation.axes or reversed(range(rank))]
    return axes.index(step.inputs[0].channel_axis)


_AXIS_FINDERS = {
    "DotProductAttention": lambda step: 2,  # (batch, time, heads, size)
    "Einsum": _channel_axis_of_einsum,
    "EinsumDense": _channel_axis_of_einsum_dense,
    "Transpose": _channel_axis_of_transpose,
}


def _fill_in_lengths(step: Step) -> None:
    """Infers unknown lengths of axes that EinsumDense and attention leave unchanged."""
    tensor, labels = step.outputs[0], _labels(step)
    if labels is None or None not in tensor.shape[1:]:
        return
    lengths: dict[str, int | None] = {}
    for operand, source in zip(labels[0], step.inputs, strict=False):
        for label, length in zip(operand, source.shape, strict=True):
            lengths[label] = max(length or 0, lengths.get(label) or 0) or None
    pairs = zip(labels[1], tensor.shape, strict=True)
    tensor.shape = tuple(length or lengths.get(label) for label, length in pairs)


def _labels(step: Step) -> tuple[list[str], str] | None:
    """The labels of the axes of tensors that go in and of the one that comes out, if any are."""
    kind, is_alone = kind_of(step.operation), len(step.inputs) == 1
    if kind in ("DotProductAttention", "Dropout", "Softmax") or (kind == "Multiply" and is_alone):
        labels = "abcdefgh"[: len(step.outputs[0].shape)]
        return [labels], labels
    if kind == "EinsumDense":
        source, _, result = labels_of_einsum_dense(step)
        return [source], result
    return labels_of_einsum(step) if kind == "Einsum" else None


def labels_of_einsum_dense(step: Step) -> tuple[str, str, str]:
    """The labels of the axes of an EinsumDense call's input, of the kernel, and of the output."""
    rank = len(step.inputs[0].shape)
    kernel = step.operation.equation.replace(" ", "").split("->")[0].split(",")[1]
    (source, kernel), result = einsum_labels(step.operation.equation, [rank, len(kernel)])
    return source, kernel, result


def labels_of_einsum(step: Step) -> tuple[list[str], str] | None:
    """As `einsum_labels`; None if an operand is no tensor of the graph or nothing is named."""
    if len(step.inputs) != len(step.args):
        return None
    return einsum_labels(step.operation.subscripts, [len(t.shape) for t in step.inputs])


def at_one_time(step: Step) -> Step:
    """The call of the layer inside a `TimeDistributed`, its tensors without the time axis."""
    (source,), (output,) = (
        [_without_time(tensor) for tensor in tensors]
        for tensors in ([t for t in step.inputs if len(t.shape) > 2][:1], step.outputs)
    )
    return Step(step.operation.layer, (source,), {}, [output])


def _without_time(tensor: Tensor) -> Tensor:
    batch, _, *others = tensor.shape
    inner = keras.KerasTensor((batch, *others), dtype=tensor.keras_tensor.dtype)
    return Tensor(inner, max(tensor.channel_axis - 1, 1))
