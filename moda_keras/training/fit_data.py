"""Checks of the arrays that a modular model trains on, before Keras sees them."""

from collections.abc import Sequence
from typing import Any

import keras

from moda_keras.observing.labelled_arrays import check_shapes, is_arrays
from moda_keras.ops import check_labels
from moda_keras.ops.labels import check_sample_weight


def check_fit_data(
    x: Any,
    y: Any,
    inputs: Sequence[Any],
    classes: int | None,
    *,
    sample_weight: Any = None,
    validation_data: Any = None,
) -> None:
    """Raises a ValueError if arrays do not fit each other or the model; only arrays are looked at.

    Args:
        x: As of `keras.Model.fit`.
        y: As of `keras.Model.fit`.
        inputs: The model's inputs, symbolic tensors; none if they are not known.
        classes: C, to find wrong labels; None for no such check.
        sample_weight: As of `keras.Model.fit`.
        validation_data: As of `keras.Model.fit`.

    Raises:
        ValueError: If there are other numbers of samples, labels and weights, samples have another
            shape than the input of the model, a label is no class, or a weight is negative, NaN or
            infinite.
    """
    _check(x, y, sample_weight, inputs, classes)
    if isinstance(validation_data, (list, tuple)) and len(validation_data) in (2, 3):
        x, y, sample_weight = (*validation_data, None)[:3]
        try:
            _check(x, y, sample_weight, inputs, classes)
        except ValueError as error:
            raise ValueError(f"In `validation_data`: {error}") from None


def _check(x: Any, y: Any, sample_weight: Any, inputs: Sequence[Any], classes: int | None) -> None:
    labels = keras.tree.flatten(y)  # one array, also of `[y]` and `{"logits": y}`
    y = labels[0] if len(labels) == 1 and hasattr(labels[0], "shape") else None
    if y is not None and classes:
        check_labels(y, classes)
    if classes and is_arrays(sample_weight):
        check_sample_weight(sample_weight)
    given = [each for each in keras.tree.flatten(x) if each is not None]
    if not is_arrays(x) or not all(map(_has_length, given)):
        return
    check_shapes(x, y if _has_length(y) else None, inputs)
    if _has_length(sample_weight) and sample_weight.shape[0] != given[0].shape[0]:
        raise ValueError(
            f"Expected one weight in `sample_weight` for each of the {given[0].shape[0]} samples. "
            f"Received: an array of shape {tuple(sample_weight.shape)}"
        )


def _has_length(values: Any) -> bool:
    """Whether it is an array of a known number of samples."""
    shape = getattr(values, "shape", ())
    return len(shape) > 0 and isinstance(shape[0], int)
