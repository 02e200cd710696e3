"""PyTorch's part of the operations."""

from contextlib import AbstractContextManager, nullcontext

import keras
import numpy as np
import torch


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
