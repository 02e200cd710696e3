"""The native operations as PyTorch custom operators: eager, autograd, `torch.compile`.

On CUDA nothing waits for the device, and all memory is PyTorch's, so that a step can be captured
into a CUDA graph, after one run outside as PyTorch asks for.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from moda_keras.ops.native import core as native
from moda_keras.ops.native import cuda
from moda_keras.ops.native.descriptors import NO_ARRAY, Array, describe, rows

_NAMES = {
    torch.float32: "float32",
    torch.float64: "float64",
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
}
_DEVICES = ("cpu", "cuda")


def reason_against(activations: Sequence[Tensor], labels: Tensor) -> str | None:
    """Why the native operations cannot take these tensors, or None."""
    device = labels.device
    if device.type not in _DEVICES:
        return f"it serves CPU and CUDA tensors, not those on {device.type!r}"
    if device.type == "cuda" and _reason_against_cuda():
        return _reason_against_cuda()
    for activation in activations:
        if activation.device != device:
            return f"it serves tensors of one device, not of {activation.device} and {device}"
        if activation.dtype not in _NAMES:
            return f"it has no dtype {activation.dtype}"
        if activation.layout != torch.strided:
            return f"it has no layout {activation.layout}"
        if activation.dim() > 5 or 0 in activation.shape:
            return f"it has no shape {tuple(activation.shape)}"
    return None


@torch.compiler.assume_constant_result
def _reason_against_cuda() -> str | None:
    return cuda.reason_against()


@contextmanager
def _operations(device: torch.device) -> Iterator:
    """The native operations that work on a device: a module, or an object like it."""
    if device.type == "cpu":
        yield native.extension()
        return
    with torch.cuda.device(device):
        yield cuda.Operations(
            cuda.library(),
            torch.cuda.current_stream(device).cuda_stream,
            lambda size: torch.empty(size, dtype=torch.uint8, device=device),
        )


def real_dtype(activations: Sequence[Tensor]) -> torch.dtype:
    """The type that the operations compute in."""
    is_double = any(activation.dtype == torch.float64 for activation in activations)
    return torch.float64 if is_double else torch.float32


# ----------------------------------------------------------------------------------- objectives


@torch.library.custom_op("moda_keras::objectives", mutates_args=(), device_types=_DEVICES)
def objectives(
    activations: Sequence[Tensor],
    labels: Tensor,
    classes: int,
    axes: Sequence[int],
    non_negative: Sequence[bool],
    averages_pairs: bool,
    unit_divides: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The objectives of every activation (A, 3) in float64, and what the gradient needs of it."""
    values, normalized, inverse_norms, totals = _empty_results(activations, axes)
    labels = labels.contiguous()
    with _operations(labels.device) as operations:
        operations.objectives_forward(
            _describe_all(activations, axes, non_negative),
            labels.data_ptr(),
            labels.shape[0],
            classes,
            int(averages_pairs),
            unit_divides,
            normalized.data_ptr(),
            inverse_norms.data_ptr(),
            totals.data_ptr(),
            values.data_ptr(),
        )
    return values, normalized, inverse_norms, totals


@objectives.register_fake
def _(activations, labels, classes, axes, non_negative, averages_pairs, unit_divides):
    return _empty_results(activations, axes)


@torch.library.custom_op("moda_keras::objectives_backward", mutates_args=(), device_types=_DEVICES)
def objectives_backward(
    activations: Sequence[Tensor],
    labels: Tensor,
    classes: int,
    axes: Sequence[int],
    non_negative: Sequence[bool],
    averages_pairs: bool,
    unit_divides: bool,
    normalized: Tensor,
    inverse_norms: Tensor,
    totals: Tensor,
    upstream: Tensor,
) -> tuple[Tensor, list[Tensor]]:
    """Gradients: of one position of each unit for all activations; whole, where signs matter."""
    vectors = torch.empty_like(normalized)
    gradients = _empty_gradients(activations, non_negative)
    labels, upstream = labels.contiguous(), upstream.contiguous()
    described, outputs = _describe_gradients(activations, gradients, axes, non_negative)
    with _operations(labels.device) as operations:
        operations.objectives_backward(
            described,
            labels.data_ptr(),
            labels.shape[0],
            classes,
            int(averages_pairs),
            unit_divides,
            normalized.data_ptr(),
            inverse_norms.data_ptr(),
            totals.data_ptr(),
            upstream.data_ptr(),
            vectors.data_ptr(),
            outputs,
        )
    return vectors, gradients


@objectives_backward.register_fake
def _(
    activations,
    labels,
    classes,
    axes,
    non_negative,
    averages_pairs,
    unit_divides,
    normalized,
    inverse_norms,
    totals,
    upstream,
):
    return torch.empty_like(normalized), _empty_gradients(activations, non_negative)


def _save_for_backward(ctx, inputs, output):
    activations, labels, *ctx.options = inputs
    _, normalized, inverse_norms, totals = output
    ctx.save_for_backward(*activations, labels, normalized, inverse_norms, totals)
    ctx.mark_non_differentiable(normalized, inverse_norms, totals)
    ctx.set_materialize_grads(False)


def _backward(ctx, upstream, *_):
    if upstream is None:
        return [None] * (len(ctx.saved_tensors) - 4), *([None] * 6)
    *activations, labels, normalized, inverse_norms, totals = ctx.saved_tensors
    _, axes, non_negative, *_ = ctx.options
    vectors, gradients = objectives_backward(
        activations, labels, *ctx.options, normalized, inverse_norms, totals, upstream
    )
    whole = iter(gradients)
    parts = vectors.split(
        [a.shape[0] * a.shape[axis] for a, axis in zip(activations, axes, strict=True)]
    )
    results = [
        _spread(part, activation, axis) if known else next(whole)
        for activation, axis, known, part in zip(
            activations, axes, non_negative, parts, strict=True
        )
    ]
    return results, *([None] * 6)


objectives.register_autograd(_backward, setup_context=_save_for_backward)


def _spread(vectors: Tensor, activation: Tensor, axis: int) -> Tensor:
    """The gradient of one position for all positions, without writing it to memory."""
    shape = [1] * activation.dim()
    shape[0], shape[axis] = activation.shape[0], activation.shape[axis]
    return vectors.to(activation.dtype).view(shape).expand_as(activation)


def _empty_results(
    activations: Sequence[Tensor], axes: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    first = activations[0]
    count, samples = len(activations), first.shape[0]
    units = sum(a.shape[axis] for a, axis in zip(activations, axes, strict=True))
    real = real_dtype(activations)
    return (
        first.new_empty((count, 3), dtype=torch.float64),
        first.new_empty((samples * units,), dtype=real),
        first.new_empty((count, samples), dtype=torch.float64),
        first.new_empty((units,), dtype=real),
    )


def _empty_gradients(activations: Sequence[Tensor], non_negative: Sequence[bool]) -> list[Tensor]:
    # Dense, in the memory order of the activation.
    return [
        torch.empty_like(a, memory_format=torch.preserve_format)
        for a, known in zip(activations, non_negative, strict=True)
        if not known
    ]


# ------------------------------------------------------------------------------------ statistics


@torch.library.custom_op("moda_keras::class_statistics", mutates_args=(), device_types=_DEVICES)
def class_statistics(
    activation: Tensor, labels: Tensor, classes: int, axis: int, non_negative: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Sums (C, D), counts, nonzero, l1 (C,) of one activation; unit vectors and inverse norms."""
    results = _empty_statistics(activation, classes, axis)
    sums, counts, nonzero, l1, normalized, inverse_norms = results
    labels = labels.contiguous()
    with _operations(labels.device) as operations:
        operations.class_statistics_forward(
            _describe_all([activation], [axis], [non_negative]),
            labels.data_ptr(),
            labels.shape[0],
            classes,
            normalized.data_ptr(),
            inverse_norms.data_ptr(),
            sums.data_ptr(),
            counts.data_ptr(),
            nonzero.data_ptr(),
            l1.data_ptr(),
        )
    return results


@class_statistics.register_fake
def _(activation, labels, classes, axis, non_negative):
    return _empty_statistics(activation, classes, axis)


@torch.library.custom_op(
    "moda_keras::class_statistics_backward", mutates_args=(), device_types=_DEVICES
)
def class_statistics_backward(
    activation: Tensor,
    labels: Tensor,
    axis: int,
    non_negative: bool,
    normalized: Tensor,
    inverse_norms: Tensor,
    sums_gradient: Tensor,
    l1_gradient: Tensor,
) -> tuple[Tensor, list[Tensor]]:
    """As `objectives_backward`, for one activation."""
    vectors = torch.empty_like(normalized)
    gradients = _empty_gradients([activation], [non_negative])
    labels, sums_gradient, l1_gradient = (
        tensor.contiguous() for tensor in (labels, sums_gradient, l1_gradient)
    )
    described, outputs = _describe_gradients([activation], gradients, [axis], [non_negative])
    with _operations(labels.device) as operations:
        operations.class_statistics_backward(
            described,
            labels.data_ptr(),
            labels.shape[0],
            sums_gradient.shape[0],
            normalized.data_ptr(),
            inverse_norms.data_ptr(),
            sums_gradient.data_ptr(),
            l1_gradient.data_ptr(),
            vectors.data_ptr(),
            outputs,
        )
    return vectors, gradients


@class_statistics_backward.register_fake
def _(
    activation, labels, axis, non_negative, normalized, inverse_norms, sums_gradient, l1_gradient
):
    return torch.empty_like(normalized), _empty_gradients([activation], [non_negative])


def _save_statistics(ctx, inputs, output):
    activation, labels, _, ctx.axis, ctx.non_negative = inputs
    _, counts, nonzero, _, normalized, inverse_norms = output
    ctx.save_for_backward(activation, labels, normalized, inverse_norms)
    ctx.mark_non_differentiable(counts, nonzero, normalized, inverse_norms)


def _statistics_backward(ctx, sums_gradient, _counts, _nonzero, l1_gradient, *_):
    activation, labels, normalized, inverse_norms = ctx.saved_tensors
    vectors, gradients = class_statistics_backward(
        activation,
        labels,
        ctx.axis,
        ctx.non_negative,
        normalized,
        inverse_norms,
        sums_gradient,
        l1_gradient,
    )
    whole = _spread(vectors, activation, ctx.axis) if ctx.non_negative else gradients[0]
    return whole, None, None, None, None


class_statistics.register_autograd(_statistics_backward, setup_context=_save_statistics)


def _empty_statistics(activation: Tensor, classes: int, axis: int) -> tuple[Tensor, ...]:
    samples, units = activation.shape[0], activation.shape[axis]
    shapes = [(classes, units), (classes,), (classes,), (classes,), (samples * units,)]
    real = real_dtype([activation])
    return (
        *(activation.new_empty(shape, dtype=real) for shape in shapes),
        activation.new_empty((1, samples), dtype=torch.float64),
    )


# ----------------------------------------------------------------------------------- frequency


@torch.library.custom_op("moda_keras::activation_frequency", mutates_args=(), device_types=_DEVICES)
def activation_frequency(
    activations: Sequence[Tensor],
    labels: Tensor,
    classes: int,
    axes: Sequence[int],
    epsilons: Sequence[float],
) -> tuple[list[Tensor], Tensor]:
    """Counts (C, D) of active units of each activation; (A,) counts of units not finite."""
    counts = [
        torch.zeros((classes, a.shape[axis]), dtype=torch.int32, device=a.device)
        for a, axis in zip(activations, axes, strict=True)
    ]
    not_finite = torch.zeros((len(activations),), dtype=torch.int32, device=labels.device)
    labels = labels.contiguous()
    with _operations(labels.device) as operations:
        operations.activation_frequency(
            _describe_all(activations, axes, [False] * len(activations)),
            labels.data_ptr(),
            labels.shape[0],
            classes,
            list(epsilons),
            [count.data_ptr() for count in counts],
            not_finite.data_ptr(),
        )
    return counts, not_finite


@activation_frequency.register_fake
def _(activations, labels, classes, axes, epsilons):
    counts = [
        a.new_empty((classes, a.shape[axis]), dtype=torch.int32)
        for a, axis in zip(activations, axes, strict=True)
    ]
    return counts, labels.new_empty((len(activations),), dtype=torch.int32)


# ---------------------------------------------------------------------------------- description


def _describe_all(activations: Sequence[Tensor], axes: Sequence[int], non_negative: Sequence[bool]):
    return rows(
        [
            row
            for activation, axis, known in zip(activations, axes, non_negative, strict=True)
            for row in _describe([activation], axis, known)
        ]
    )


def _describe_gradients(
    activations: Sequence[Tensor],
    gradients: Sequence[Tensor],
    axes: Sequence[int],
    non_negative: Sequence[bool],
):
    whole = iter(gradients)
    described = []
    for activation, axis, known in zip(activations, axes, non_negative, strict=True):
        if known:
            described.append((*_describe([activation], axis, known), NO_ARRAY))
        else:
            described.append(_describe([activation, next(whole)], axis, known))
    inputs, outputs = zip(*described, strict=True)
    return rows(inputs), rows(outputs)


def _describe(tensors: Sequence[Tensor], axis: int, non_negative: bool):
    arrays = [Array(tensor.data_ptr(), tensor.stride()) for tensor in tensors]
    first = tensors[0]
    return describe(arrays, _NAMES[first.dtype], first.shape, axis, non_negative)
