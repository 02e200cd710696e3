"""Converts class labels, in the forms that Keras's losses accept, to class indices."""

from numbers import Integral
from typing import Any

import keras
import numpy as np
from keras import ops

from moda_keras.ops.backends import backend

# A row of soft labels in half precision sums to 1 within this.
ROUNDING = 0.02


def class_ids(labels: Any, num_classes: int, sample_weight: Any = None) -> Any:
    """Class index of every sample; `num_classes` for a sample that belongs to no class.

    Args:
        labels: Integers of shape (B,) or (B, 1), or one-hot (or soft) rows of shape (B, C).
        num_classes: C, the number of classes.
        sample_weight: Optional, shape (B,) or (B, 1). Samples of weight 0 belong to no class.

    Returns:
        int32 tensor of shape (B,).

    Raises:
        ValueError: If the shape fits neither form, a label is not in 0 .. C - 1, or a weight is
            known to be negative, NaN or infinite. Where the
            labels' values are unknown (inside a compiled function), TensorFlow raises when the
            function runs, except under XLA; with JAX and with labels on a GPU such a sample belongs
            to no class.
    """
    check_labels(labels, num_classes)
    check_sample_weight(sample_weight)
    return unchecked_class_ids(labels, num_classes, sample_weight)


def unchecked_class_ids(labels: Any, num_classes: int, sample_weight: Any = None) -> Any:
    """As `class_ids`, but a label out of range only makes its sample one of no class."""
    one_hot = _is_one_hot(np.shape(labels), num_classes)
    labels = ops.convert_to_tensor(_without_uint64(labels))
    ids = ops.argmax(labels, axis=-1) if one_hot else ops.reshape(labels, (-1,))
    ids = standardize_ids(ids, num_classes)
    if sample_weight is None:
        return ids
    weighted = _flat_weight(sample_weight, ids) != 0
    return ops.where(weighted, ids, ops.full_like(ids, num_classes))


def class_memberships(labels: Any, num_classes: int, sample_weight: Any = None) -> tuple[Any, Any]:
    """Which classes every sample is in, from multi-hot labels: any number of classes a sample.

    Args:
        labels: Rows of shape (B, C) of 0 and 1.
        num_classes: C, the number of classes.
        sample_weight: Optional, shape (B,) or (B, 1). Samples of weight 0 belong to no class.

    Returns:
        int32 tensor of shape (B, C) of 0 and 1, and a bool tensor (B,): whether a row holds nothing
        else. Samples with other rows belong to no class.

    Raises:
        ValueError: If the shape is not (B, C), or a weight is known to be negative, NaN or
            infinite.
    """
    _require_rows(np.shape(labels), num_classes)
    check_sample_weight(sample_weight)
    labels = ops.cast(labels, "float32")
    valid = ops.all(ops.logical_or(labels == 0, labels == 1), axis=-1)
    counted = valid
    if sample_weight is not None:
        counted = ops.logical_and(valid, _flat_weight(sample_weight, labels) != 0)
    return ops.cast(labels == 1, "int32") * ops.cast(counted, "int32")[:, None], valid


def check_multi_hot(labels: Any, num_classes: int) -> None:
    """Raises a ValueError if labels in an array are not rows of 0 and 1 of `num_classes` classes.

    Args:
        labels: Array of shape (B, C).
        num_classes: C, the number of classes.
    """
    _require_rows(np.shape(labels), num_classes)
    concrete = backend.as_concrete(labels)
    wrong = None if concrete is None else ~np.isin(concrete, (0, 1)).all(axis=-1)
    if wrong is not None and wrong.any():
        raise ValueError(
            f"Expected multi-hot labels, rows of 0 and 1. Received: {int(wrong.sum())} of "
            f"{len(concrete)} rows that are not, the first {concrete[wrong][0].tolist()[:10]}"
        )


def _require_rows(shape: tuple, num_classes: int) -> None:
    if len(shape) != 2 or shape[-1] != num_classes:
        raise ValueError(
            f"Expected multi-hot labels of shape (batch, {num_classes}). Received: labels of shape "
            f"{tuple(shape)}"
        )


def standardize_ids(ids: Any, num_classes: int) -> Any:
    """Class indices (B,) of any dtype as int32; `num_classes` for each that is out of range.

    Raises:
        ValueError: If the shape is not (B,).
    """
    ids = ops.convert_to_tensor(_without_uint64(ids))
    if len(ids.shape) != 1:
        raise ValueError(
            f"Expected class indices of shape (batch,). Received: shape {tuple(ids.shape)}"
        )
    dtype = keras.backend.standardize_dtype(ids.dtype)
    # Compared before a cast that would wrap around, and after one that widens: `num_classes` may be
    # more than int8 can hold.
    wide = ids if dtype == "int64" else ops.cast(ids, "int32")
    valid = ops.logical_and(wide >= 0, wide < num_classes)
    return ops.where(valid, ops.cast(ids, "int32"), num_classes)


def _without_uint64(values: Any) -> Any:
    """PyTorch has no such tensors, and JAX would cut the numbers off."""
    if getattr(getattr(values, "dtype", None), "name", None) != "uint64":
        return values
    return np.minimum(values, np.iinfo("int32").max).astype("int64")


def check_labels(labels: Any, num_classes: int) -> None:
    """Raises a ValueError, as `class_ids` does, if labels are not of `num_classes` classes.

    Args:
        labels: Integers of shape (B,) or (B, 1), or one-hot (or soft) rows of shape (B, C).
        num_classes: C, the number of classes.
    """
    is_int = isinstance(num_classes, Integral) and not isinstance(num_classes, bool)
    if not is_int or num_classes < 1:
        raise ValueError(
            f"Expected `num_classes` to be a positive int. Received: num_classes={num_classes!r}"
        )
    if _is_one_hot(np.shape(labels), num_classes):
        _check_rows(labels)
    else:
        _check_range(labels, num_classes)


def _check_rows(labels: Any) -> None:
    """One-hot and soft labels sum to 1; rows of several labels and regression targets do not."""
    message = (
        "Expected one-hot or soft labels: rows of numbers >= 0 that sum to 1. Samples of several "
        "classes are for `decompose(..., multi_label=True)` alone: modular training, accuracy and "
        "what is built on it need one class a sample. Regression targets have no classes"
    )
    concrete = backend.as_concrete(labels)
    if concrete is None:
        rows = ops.cast(labels, "float32")
        is_one = ops.abs(ops.sum(rows, axis=-1) - 1) < ROUNDING
        is_valid = ops.logical_and(ops.all(is_one), ops.all(rows >= -ROUNDING))
        backend.check_in_graph(is_valid, message)
        return
    rows = concrete.astype("float64")
    wrong = ~((np.abs(rows.sum(axis=-1) - 1) < ROUNDING) & (rows >= -ROUNDING).all(axis=-1))
    if wrong.any():
        raise ValueError(
            f"{message}. Received: {int(wrong.sum())} of {len(rows)} rows that do not, the first "
            f"{rows[wrong][0].tolist()[:10]}"
        )


def _is_one_hot(shape: tuple, num_classes: int) -> bool:
    if len(shape) == 1 or (len(shape) == 2 and shape[-1] == 1):
        return False
    if len(shape) == 2 and shape[-1] == num_classes:
        return True
    raise ValueError(
        f"Expected labels of shape (batch,) or (batch, 1) holding integers from 0 to "
        f"{num_classes - 1}, or one-hot labels of shape (batch, {num_classes}). Received: labels "
        f"of shape {tuple(shape)}"
    )


def _check_range(labels: Any, num_classes: int) -> None:
    concrete = backend.as_concrete(labels)
    if concrete is None:
        _check_range_in_graph(labels, num_classes)
        return
    if concrete.size == 0:
        return
    if concrete.dtype.kind not in "biuf":
        raise ValueError(f"Expected integer labels. Received: labels of dtype {concrete.dtype}")
    if not np.array_equal(concrete, np.floor(concrete)):
        raise ValueError(f"Expected integer labels. Received: labels={concrete}")
    low, high = concrete.min(), concrete.max()
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"Expected labels from 0 to {num_classes - 1}, for a model of {num_classes} classes. "
            f"Received: labels from {low} to {high}"
        )


def _check_range_in_graph(labels: Any, num_classes: int) -> None:
    # `num_classes` may be more than the labels' own dtype, such as int8, can hold.
    labels = ops.cast(labels, "int32")
    in_range = ops.all(ops.logical_and(labels >= 0, labels < num_classes))
    backend.check_in_graph(
        in_range,
        f"Expected labels from 0 to {num_classes - 1}, for a model of {num_classes} classes.",
    )


def check_sample_weight(sample_weight: Any) -> None:
    """Raises a ValueError if weights are known, and one is negative, NaN or infinite.

    Args:
        sample_weight: Array or tensor of any shape, a dict of them by output, or None.
    """
    given = sample_weight.values() if isinstance(sample_weight, dict) else [sample_weight]
    for weights in given:
        if keras.ops.is_tensor(weights):  # NumPy has no bfloat16
            weights = ops.cast(weights, "float32")
        concrete = None if weights is None else backend.as_concrete(weights)
        if concrete is not None and concrete.dtype.kind in "iuf":
            wrong = int((~is_weight(concrete, np)).sum())
            if wrong:
                raise ValueError(invalid_weights(wrong))


def is_weight(values: Any, numpy: Any = ops) -> Any:
    """Which values can be weights of samples: finite numbers >= 0.

    Args:
        values: Array or tensor.
        numpy: `numpy` for an array.

    Returns:
        Bool array or tensor of the same shape.
    """
    return numpy.logical_and(numpy.isfinite(values), values >= 0)


def invalid_weights(count: int) -> str:
    """The message of an error about `count` weights."""
    return (
        f"Expected `sample_weight` to hold finite numbers >= 0. Received: {count} that are "
        "negative, NaN or infinite. Give samples that are not to be counted the weight 0"
    )


def _flat_weight(sample_weight: Any, ids: Any) -> Any:
    weight = ops.convert_to_tensor(sample_weight)
    if keras.backend.standardize_dtype(weight.dtype) == "bool":  # TensorFlow compares no numbers
        weight = ops.cast(weight, "int32")
    if len(weight.shape) != 1 and not (len(weight.shape) == 2 and weight.shape[-1] == 1):
        raise ValueError(
            "Expected `sample_weight` of shape (batch,) or (batch, 1). Received: sample_weight of "
            f"shape {tuple(weight.shape)}"
        )
    if None not in (weight.shape[0], ids.shape[0]) and weight.shape[0] != ids.shape[0]:
        raise ValueError(
            "Expected one `sample_weight` for each label. Received: "
            f"{weight.shape[0]} weights for {ids.shape[0]} labels"
        )
    return ops.reshape(weight, (-1,))
