"""TensorFlow's part of the operations."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import keras
import numpy as np
import tensorflow as tf

from moda_keras.ops.native import core as native
from moda_keras.ops.native import tensorflow as tensorflow_native


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


@tf.autograph.experimental.do_not_convert
def tap(activation: tf.Tensor, axis: int, non_negative: bool) -> tuple[tf.Tensor, tf.Tensor]:
    """Lets an activation through and reads its activation vectors off.

    TensorFlow would write the gradient of every map to memory, and add it in another pass. Here it
    is broadcast and added to the gradient of what was let through in one pass, in place.

    Args:
        activation: Float map (B, ..., D).
        axis: Axis of the units.
        non_negative: Promise that no element is negative.

    Returns:
        The activation, and the mean magnitude of every unit (B, D), float32 or float64.
    """

    @tf.custom_gradient
    def passed(x):
        real = tf.float64 if x.dtype == tf.float64 else tf.float32
        positions = [i for i in range(1, len(x.shape)) if i != axis]
        magnitudes = x if non_negative else tf.abs(x)
        vectors = tf.reduce_mean(tf.cast(magnitudes, real), axis=positions)

        def gradient(upstream, vectors_gradient):
            share = vectors_gradient
            for position in positions:
                share = tf.expand_dims(share, position)
            share /= tf.cast(tf.size(x, tf.int64) // tf.size(vectors, tf.int64), real)
            share = tf.cast(share, x.dtype)
            return upstream + (share if non_negative else share * tf.sign(x))

        return (tf.identity(x), vectors), gradient

    return passed(activation)


# -------------------------------------------------------------------------- native operations


def accelerator_name() -> str | None:
    """Name of the GPU that computes; None without one."""
    for gpu in tf.config.list_physical_devices("GPU")[:1]:
        return tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
    return None


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
