"""TensorFlow's part of the operations."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import keras
import numpy as np
import tensorflow as tf

from moda_keras.ops import native
from moda_keras.ops.adapters import tensorflow_native


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
    has_gpu = bool(tf.config.get_visible_devices("GPU"))
    return {
        "cpu": tensorflow_native.reason_against_process(),
        "gpu": "they run on the CPU" if has_gpu else "there is none",
        "under XLA": "XLA fuses the reference",
    }


@tf.autograph.experimental.do_not_convert
def native_objectives(
    activations: Sequence[tf.Tensor],
    ids: tf.Tensor,
    num_classes: int,
    axes: Sequence[int],
    non_negative: Sequence[bool],
    *,
    averages_pairs: bool,
    unit_divides: bool,
) -> tf.Tensor | None:
    """The three objectives of every activation (A, 3), or None if the reference is to serve."""
    if not native.is_used(tensorflow_native.reason_against(activations, axes)):
        return None
    return native.attempt(
        lambda: tensorflow_native.objectives(
            activations, ids, num_classes, axes, non_negative, averages_pairs, unit_divides
        )
    )


@tf.autograph.experimental.do_not_convert
def native_class_statistics(
    activation: tf.Tensor, ids: tf.Tensor, num_classes: int, axis: int, non_negative: bool
) -> tuple[tf.Tensor, ...] | None:
    """Sums, counts, nonzero, l1 of one activation, or None if the reference is to serve."""
    if not native.is_used(tensorflow_native.reason_against([activation], [axis])):
        return None
    return native.attempt(
        lambda: tensorflow_native.class_statistics(activation, ids, num_classes, axis, non_negative)
    )


@tf.autograph.experimental.do_not_convert
def native_activation_frequency(
    activations: Sequence[tf.Tensor],
    ids: tf.Tensor,
    num_classes: int,
    axes: Sequence[int],
    epsilons: Sequence[float],
) -> tuple[list[tf.Tensor], tf.Tensor] | None:
    """Counts (C, D) for every activation, (A,) units not finite; None if for the reference."""
    if not native.is_used(tensorflow_native.reason_against(activations, axes)):
        return None
    return native.attempt(
        lambda: tensorflow_native.activation_frequency(
            activations, ids, num_classes, axes, epsilons
        )
    )
