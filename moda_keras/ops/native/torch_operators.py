"""The native operations as PyTorch custom operators: eager, autograd, `torch.compile`.

On CUDA nothing waits for the device, and all memory is PyTorch's, so that a step can be captured
into a CUDA graph, after one run outside as PyTorch asks for.
"""

# PyTorch 2.6 knows no others in the signature of an operator.
from typing import List, Sequence  # noqa: UP035

import torch
from torch import Tensor

from moda_keras.ops.native.operations import Inputs
from moda_keras.ops.native.torch_tensors import (
    DEVICES,
    addresses,
    check,
    empty_gradients,
    gradient_structs,
    inputs_of,
    operations_on,
    real_dtype,
    unit_count,
    whole_gradients,
)


def _no_second_derivative(ctx, *_):
    raise NotImplementedError(
        "moda_keras's native operations have no second derivative. Set MODA_KERAS_NATIVE=0 to use "
        "the reference operations, which have one."
    )


# ----------------------------------------------------------------------------------- objectives


@torch.library.custom_op("moda_keras::objectives", mutates_args=(), device_types=DEVICES)
def objectives(
    activations: Sequence[Tensor],
    labels: Tensor,
    classes: int,
    axes: Sequence[int],
    non_negative: Sequence[bool],
    averages_pairs: bool,
    unit_divides: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The objectives of every activation (A, 3) in float64, and the inputs of the gradient."""
    check(activations, labels, classes, axes, non_negative)
    values, *saved = _empty_results(activations, axes)
    labels = labels.contiguous()
    with operations_on(labels.device) as operations:
        operations.objectives_forward(
            inputs_of(activations, labels, classes, axes, non_negative),
            (averages_pairs, unit_divides),
            addresses(*saved),
            values.data_ptr(),
        )
    return values, *saved


@objectives.register_fake
def _(activations, labels, classes, axes, non_negative, averages_pairs, unit_divides):
    check(activations, labels, classes, axes, non_negative)
    return _empty_results(activations, axes)


@torch.library.custom_op("moda_keras::objectives_backward", mutates_args=(), device_types=DEVICES)
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
) -> tuple[Tensor, List[Tensor]]:  # noqa: UP006
    """Gradients: of one position of each unit for all activations; whole, where signs matter."""
    check(activations, labels, classes, axes, non_negative)
    vectors = torch.empty_like(normalized)
    gradients = empty_gradients(activations, non_negative)
    labels, upstream = labels.contiguous(), upstream.contiguous()
    rows, outputs = gradient_structs(activations, gradients, axes, non_negative)
    with operations_on(labels.device) as operations:
        operations.objectives_backward(
            Inputs(rows, labels.data_ptr(), labels.shape[0], classes),
            (averages_pairs, unit_divides),
            addresses(normalized, inverse_norms, totals),
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
    check(activations, labels, classes, axes, non_negative)
    return torch.empty_like(normalized), empty_gradients(activations, non_negative)


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
    results = whole_gradients(activations, axes, non_negative, vectors, gradients)
    return results, *([None] * 6)


objectives.register_autograd(_backward, setup_context=_save_for_backward)
objectives_backward.register_autograd(_no_second_derivative)


def _empty_results(
    activations: Sequence[Tensor], axes: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    first = activations[0]
    count, samples = len(activations), first.shape[0]
    units = unit_count(activations, axes)
    real = real_dtype(activations)
    return (
        first.new_empty((count, 3), dtype=torch.float64),
        first.new_empty((samples * units,), dtype=real),
        first.new_empty((count, samples), dtype=torch.float64),
        first.new_empty((units,), dtype=real),
    )


# ------------------------------------------------------------------------------------ statistics


@torch.library.custom_op("moda_keras::class_statistics", mutates_args=(), device_types=DEVICES)
def class_statistics(
    activations: Sequence[Tensor],
    labels: Tensor,
    classes: int,
    axes: Sequence[int],
    non_negative: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Sums (C, U), counts (C,), nonzero and l1 (C, A); unit vectors and inverse norms."""
    check(activations, labels, classes, axes, non_negative)
    results = _empty_statistics(activations, classes, axes)
    labels = labels.contiguous()
    with operations_on(labels.device) as operations:
        operations.class_statistics_forward(
            inputs_of(activations, labels, classes, axes, non_negative),
            addresses(*results[4:]),
            addresses(*results[:4]),
        )
    return results


@class_statistics.register_fake
def _(activations, labels, classes, axes, non_negative):
    check(activations, labels, classes, axes, non_negative)
    return _empty_statistics(activations, classes, axes)


@torch.library.custom_op(
    "moda_keras::class_statistics_backward", mutates_args=(), device_types=DEVICES
)
def class_statistics_backward(
    activations: Sequence[Tensor],
    labels: Tensor,
    axes: Sequence[int],
    non_negative: Sequence[bool],
    normalized: Tensor,
    inverse_norms: Tensor,
    sums_gradient: Tensor,
    l1_gradient: Tensor,
) -> tuple[Tensor, List[Tensor]]:  # noqa: UP006
    """As `objectives_backward`."""
    classes = sums_gradient.shape[0]
    check(activations, labels, classes, axes, non_negative)
    vectors = torch.empty_like(normalized)
    gradients = empty_gradients(activations, non_negative)
    labels, sums_gradient, l1_gradient = (
        tensor.contiguous() for tensor in (labels, sums_gradient, l1_gradient)
    )
    rows, outputs = gradient_structs(activations, gradients, axes, non_negative)
    with operations_on(labels.device) as operations:
        operations.class_statistics_backward(
            Inputs(rows, labels.data_ptr(), labels.shape[0], classes),
            addresses(normalized, inverse_norms),
            addresses(sums_gradient, l1_gradient),
            vectors.data_ptr(),
            outputs,
        )
    return vectors, gradients


@class_statistics_backward.register_fake
def _(
    activations, labels, axes, non_negative, normalized, inverse_norms, sums_gradient, l1_gradient
):
    check(activations, labels, sums_gradient.shape[0], axes, non_negative)
    return torch.empty_like(normalized), empty_gradients(activations, non_negative)


def _save_statistics(ctx, inputs, output):
    activations, labels, _, ctx.axes, ctx.non_negative = inputs
    _, counts, nonzero, _, normalized, inverse_norms = output
    ctx.save_for_backward(*activations, labels, normalized, inverse_norms)
    ctx.mark_non_differentiable(counts, nonzero, normalized, inverse_norms)


def _statistics_backward(ctx, sums_gradient, _counts, _nonzero, l1_gradient, *_):
    *activations, labels, normalized, inverse_norms = ctx.saved_tensors
    signs = ctx.axes, ctx.non_negative
    vectors, gradients = class_statistics_backward(
        activations, labels, *signs, normalized, inverse_norms, sums_gradient, l1_gradient
    )
    return whole_gradients(activations, *signs, vectors, gradients), *([None] * 4)


class_statistics.register_autograd(_statistics_backward, setup_context=_save_statistics)
class_statistics_backward.register_autograd(_no_second_derivative)


def _empty_statistics(
    activations: Sequence[Tensor], classes: int, axes: Sequence[int]
) -> tuple[Tensor, ...]:
    first, count = activations[0], len(activations)
    samples, units = first.shape[0], unit_count(activations, axes)
    shapes = [(classes, units), (classes,), (classes, count), (classes, count), (samples * units,)]
    real = real_dtype(activations)
    return (
        *(first.new_empty(shape, dtype=real) for shape in shapes),
        first.new_empty((count, samples), dtype=torch.float64),
    )


# ----------------------------------------------------------------------------------- frequency


@torch.library.custom_op("moda_keras::activation_frequency", mutates_args=(), device_types=DEVICES)
def activation_frequency(
    activations: Sequence[Tensor],
    labels: Tensor,
    classes: int,
    axes: Sequence[int],
    epsilons: Sequence[float],
) -> tuple[List[Tensor], Tensor]:  # noqa: UP006
    """Counts (C, D) of active units of each activation; (A,) counts of units not finite."""
    check(activations, labels, classes, axes, epsilons)
    counts = [
        torch.zeros((classes, a.shape[axis]), dtype=torch.int32, device=a.device)
        for a, axis in zip(activations, axes, strict=True)
    ]
    not_finite = torch.zeros((len(activations),), dtype=torch.int32, device=labels.device)
    labels = labels.contiguous()
    with operations_on(labels.device) as operations:
        operations.activation_frequency(
            inputs_of(activations, labels, classes, axes, [False] * len(activations)),
            epsilons,
            addresses(*counts),
            not_finite.data_ptr(),
        )
    return counts, not_finite


@activation_frequency.register_fake
def _(activations, labels, classes, axes, epsilons):
    check(activations, labels, classes, axes, epsilons)
    counts = [
        a.new_empty((classes, a.shape[axis]), dtype=torch.int32)
        for a, axis in zip(activations, axes, strict=True)
    ]
    return counts, labels.new_empty((len(activations),), dtype=torch.int32)
