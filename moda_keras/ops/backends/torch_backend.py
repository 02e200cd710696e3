"""PyTorch's part of the operations."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import keras
import numpy as np
import torch

from moda_keras.ops.native import core as native
from moda_keras.ops.native import cuda
from moda_keras.ops.native import torch as torch_native


def segment_sum(rows: torch.Tensor, segment_ids: torch.Tensor, num_segments: int) -> torch.Tensor:
    """Sums of the rows of each segment; Keras's own repeats the indices for every element."""
    sums = rows.new_zeros((num_segments, *rows.shape[1:]))
    return sums.index_add(0, segment_ids, rows)


def as_concrete(values) -> np.ndarray | None:
    """`values` as a NumPy array if that costs no synchronisation with a device, else None."""
    if torch.compiler.is_compiling():
        return None
    if not isinstance(values, torch.Tensor):
        return np.asarray(values)
    if values.device.type != "cpu":
        return None
    return values.detach().numpy()


def check_in_graph(condition, message: str) -> None:
    """PyTorch runs eagerly: `as_concrete` has checked already."""


def keep_variables(model: keras.Model) -> AbstractContextManager:
    """Nothing to do: variables stay in place while a model trains."""
    return nullcontext()


# Autograd adds a gradient that is a broadcast in one pass, without writing it to memory.
tap = None


# -------------------------------------------------------------------------- native operations


def accelerator_name() -> str | None:
    """Name of the GPU that computes; None without one."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def native_devices() -> dict[str, str | None]:
    """Each device of the backend, and why the native operations cannot serve it, or None."""
    gpu = cuda.reason_against() if torch.cuda.is_available() else "PyTorch finds none"
    return {"cpu": None, "cuda": gpu}


def native_objectives(
    activations: Sequence[torch.Tensor],
    ids: torch.Tensor,
    num_classes: int,
    axes: Sequence[int],
    non_negative: Sequence[bool],
    *,
    averages_pairs: bool,
    unit_divides: bool,
) -> torch.Tensor | None:
    """The three objectives of every activation (A, 3), or None if the reference is to serve."""
    if not _is_native_used(activations, ids):
        return None

    def call():
        options = (averages_pairs, unit_divides)
        values, *_ = torch_native.objectives(
            activations, ids, num_classes, axes, non_negative, *options
        )
        return values.to(torch_native.real_dtype(activations))

    return _attempt(call)


def native_class_statistics(
    activation: torch.Tensor, ids: torch.Tensor, num_classes: int, axis: int, non_negative: bool
) -> tuple[torch.Tensor, ...] | None:
    """Sums, counts, nonzero, l1 of one activation, or None if the reference is to serve."""
    if not _is_native_used([activation], ids):
        return None
    return _attempt(
        lambda: torch_native.class_statistics(activation, ids, num_classes, axis, non_negative)[:4]
    )


def native_activation_frequency(
    activations: Sequence[torch.Tensor],
    ids: torch.Tensor,
    num_classes: int,
    axes: Sequence[int],
    epsilons: Sequence[float],
) -> tuple[list[torch.Tensor], torch.Tensor] | None:
    """Counts (C, D) for every activation, (A,) units not finite; None if for the reference."""
    if not _is_native_used(activations, ids):
        return None
    return _attempt(
        lambda: torch_native.activation_frequency(activations, ids, num_classes, axes, epsilons)
    )


def _is_native_used(activations: Sequence[torch.Tensor], ids: torch.Tensor) -> bool:
    return _is_used(torch_native.reason_against(activations, ids))


@torch.compiler.assume_constant_result
def _is_used(reason: str | None) -> bool:
    return native.is_used(reason)


def _attempt(call):
    # Nothing is run, and nothing can fail, while `torch.compile` traces.
    return call() if torch.compiler.is_compiling() else native.attempt(call)
