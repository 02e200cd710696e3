"""PyTorch tensors as the native operations read and write them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from moda_keras.ops.native import libraries
from moda_keras.ops.native.descriptors import NO_ARRAY, Array, describe, structs
from moda_keras.ops.native.operations import CudaOperations, Inputs, Operations

_NAMES = {
    torch.float32: "float32",
    torch.float64: "float64",
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
}
DEVICES = ("cpu", "cuda")


def reason_against(activations: Sequence[Tensor], labels: Tensor) -> str | None:
    """Why the native operations cannot take these tensors, or None."""
    device = labels.device
    if device.type not in DEVICES:
        return f"they take CPU and CUDA tensors, not those on {device.type!r}"
    if reason := _reason_against_library(device.type):
        return reason
    for activation in activations:
        if activation.device != device:
            return f"they take tensors of one device, not of {activation.device} and {device}"
        if activation.dtype not in _NAMES:
            return f"they do not take dtype {activation.dtype}"
        if activation.layout != torch.strided:
            return f"they do not take layout {activation.layout}"
        if activation.dim() > 5 or 0 in activation.shape:
            return f"they do not take shape {tuple(activation.shape)}"
    return None


# Constant: a library is loaded once in a process.
@torch.compiler.assume_constant_result
def _reason_against_library(device_type: str) -> str | None:
    if device_type == "cpu":
        return libraries.reason_against_cpu()
    return libraries.reason_against_cuda()


@contextmanager
def operations_on(device: torch.device) -> Iterator[Operations]:
    """The native operations that work on a device."""
    if device.type == "cpu":
        yield Operations(libraries.cpu(), torch.get_num_threads())
        return
    with torch.cuda.device(device):
        yield CudaOperations(
            libraries.cuda(),
            torch.cuda.current_stream(device).cuda_stream,
            lambda size: torch.empty(size, dtype=torch.uint8, device=device),
        )


def real_dtype(activations: Sequence[Tensor]) -> torch.dtype:
    """The type that the operations compute in."""
    is_double = any(activation.dtype == torch.float64 for activation in activations)
    return torch.float64 if is_double else torch.float32


def check(
    activations: Sequence[Tensor],
    labels: Tensor,
    classes: int,
    axes: Sequence[int],
    other: Sequence,
) -> None:
    """Checks shared by all operators, traced or run: the only checks before the pointers."""
    count = len(activations)
    torch._check(count > 0, lambda: "Expected at least one activation. Received: none")
    torch._check(classes > 0, lambda: f"Expected classes > 0. Received: classes={classes}")
    torch._check(
        len(axes) == count and len(other) == count,
        lambda: (
            f"Expected an axis and an option for each of the {count} activations. Received: "
            f"axes={axes}, options={other}"
        ),
    )
    torch._check_type(
        labels.dtype == torch.int32, lambda: f"Expected int32 labels. Received: {labels.dtype}"
    )
    torch._check(
        labels.dim() == 1,
        lambda: f"Expected labels of shape (batch,). Received: shape {tuple(labels.shape)}",
    )
    for activation, axis in zip(activations, axes, strict=True):
        torch._check_type(
            activation.dtype in _NAMES,
            lambda dtype=activation.dtype: f"Expected float activations. Received: {dtype}",
        )
        torch._check(
            0 < axis < activation.dim() <= 5,
            lambda a=activation, axis=axis: (
                "Expected activations of 2 to 5 axes with the units on "
                f"`axis`. Received: shape {tuple(a.shape)}, axis={axis}"
            ),
        )
        torch._check(
            activation.shape[0] == labels.shape[0],
            lambda a=activation: (
                "Expected one label for each sample. Received: "
                f"{labels.shape[0]} labels for {a.shape[0]} samples"
            ),
        )
        torch._check(
            activation.device == labels.device,
            lambda a=activation: (
                "Expected activations and labels on one device. Received: "
                f"{a.device} and {labels.device}"
            ),
        )


def inputs_of(
    activations: Sequence[Tensor],
    labels: Tensor,
    classes: int,
    axes: Sequence[int],
    non_negative: Sequence[bool],
) -> Inputs:
    """What every operation takes."""
    rows = [
        _describe([activation], axis, known)[0]
        for activation, axis, known in zip(activations, axes, non_negative, strict=True)
    ]
    return Inputs(structs(rows), labels.data_ptr(), labels.shape[0], classes)


def gradient_structs(
    activations: Sequence[Tensor],
    gradients: Sequence[Tensor],
    axes: Sequence[int],
    non_negative: Sequence[bool],
) -> tuple[np.ndarray, np.ndarray]:
    """Structs of the activations and of their gradients, folded alike."""
    whole = iter(gradients)
    described = []
    for activation, axis, known in zip(activations, axes, non_negative, strict=True):
        if known:
            described.append((*_describe([activation], axis, known), NO_ARRAY))
        else:
            described.append(_describe([activation, next(whole)], axis, known))
    inputs, outputs = zip(*described, strict=True)
    return structs(inputs), structs(outputs)


def _describe(tensors: Sequence[Tensor], axis: int, non_negative: bool) -> list[tuple]:
    arrays = [Array(tensor.data_ptr(), tensor.stride()) for tensor in tensors]
    first = tensors[0]
    described = describe(arrays, _NAMES[first.dtype], first.shape, axis, non_negative)
    if described is None:
        raise ValueError(
            "Expected activations whose positions fold into three axes. Received: shape "
            f"{tuple(first.shape)}, strides {first.stride()}"
        )
    return described


def addresses(*tensors: Tensor) -> tuple[int, ...]:
    """The address of each tensor."""
    return tuple(tensor.data_ptr() for tensor in tensors)


def unit_count(activations: Sequence[Tensor], axes: Sequence[int]) -> int:
    """U, the units of all activations."""
    return sum(a.shape[axis] for a, axis in zip(activations, axes, strict=True))


# ------------------------------------------------------------------------------------ gradients


def empty_gradients(activations: Sequence[Tensor], non_negative: Sequence[bool]) -> list[Tensor]:
    """Allocates the gradient of each activation whose signs matter, in its memory order."""
    return [
        torch.empty_like(a, memory_format=torch.preserve_format)
        for a, known in zip(activations, non_negative, strict=True)
        if not known
    ]


def whole_gradients(
    activations: Sequence[Tensor],
    axes: Sequence[int],
    non_negative: Sequence[bool],
    vectors: Tensor,
    gradients: Sequence[Tensor],
) -> list[Tensor]:
    """Gradients of all activations: written ones, and those of one position spread to all."""
    whole = iter(gradients)
    sizes = [a.shape[0] * a.shape[axis] for a, axis in zip(activations, axes, strict=True)]
    parts = vectors.split(sizes)
    return [
        _spread(part, activation, axis) if known else next(whole)
        for activation, axis, known, part in zip(
            activations, axes, non_negative, parts, strict=True
        )
    ]


def _spread(vectors: Tensor, activation: Tensor, axis: int) -> Tensor:
    """The gradient of one position for all positions, without writing it to memory."""
    shape = [1] * activation.dim()
    shape[0], shape[axis] = activation.shape[0], activation.shape[axis]
    return vectors.to(activation.dtype).view(shape).expand_as(activation)
