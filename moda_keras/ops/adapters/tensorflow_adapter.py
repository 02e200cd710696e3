"""TensorFlow's part of the operations."""

from contextlib import AbstractContextManager, nullcontext

import keras
import numpy as np
import tensorflow as tf


def segment_sum(rows: tf.Tensor, segment_ids: tf.Tensor, num_segments: int) -> tf.Tensor:
    """Sums of the rows of each segment."""
    return tf.math.unsorted_segment_sum(rows, segment_ids, num_segments)


def as_concrete(values) -> np.ndarray | None:
    """`values` as a NumPy array, or None inside a `tf.function`."""
    if not tf.is_tensor(values):
        return np.asarray(values)
    return values.numpy() if hasattr(values, "numpy") else None


def check_in_graph(condition, message: str) -> None:
    """Raises InvalidArgumentError when the graph runs and `condition` is false (not under XLA)."""
    tf.debugging.Assert(condition, [message])


def keep_variables(model: keras.Model) -> AbstractContextManager:
    """Nothing to do: variables stay in place while a model trains."""
    return nullcontext()


# -------------------------------------------------------------------------- native operations


def native_devices() -> dict[str, str | None]:
    """Each device of the backend, and why the native operations cannot serve it, or None."""
    return {"any device": "not yet"}


def native_objectives(*args, **kwargs) -> None:
    """None: the reference serves."""


def native_class_statistics(*args, **kwargs) -> None:
    """None: the reference serves."""


def native_activation_frequency(*args, **kwargs) -> None:
    """None: the reference serves."""
