"""Checks of samples and labels that are held in arrays."""

from typing import Any

import keras
import numpy as np

from moda_keras.ops import check_labels


def check_labelled_arrays(x: Any, y: Any, num_classes: int) -> tuple[Any, np.ndarray]:
    """Inputs as NumPy arrays, and labels as class indices.

    Args:
        x: Array of N samples, or a list or dict of arrays for a model of several inputs.
        y: Labels: integers (N,) or (N, 1), or one-hot (N, C).
        num_classes: C, the number of classes.

    Returns:
        The inputs, in the same structure, and an int64 array (N,).

    Raises:
        ValueError: If there are no labels or no samples, their numbers differ, a label is out of
            range, or the inputs are no arrays.
    """
    if y is None:
        raise ValueError("Expected labels in `y`. Received: y=None")
    y = np.asarray(y)
    check_labels(y, num_classes)
    is_one_hot = y.ndim == 2 and y.shape[1] > 1
    y = y.argmax(axis=1) if is_one_hot else y.reshape(-1).astype("int64")
    x = keras.tree.map_structure(np.asarray, x) if _is_structure(x) else np.asarray(x)
    for values in keras.tree.flatten(x):
        if values.dtype == object or values.shape[:1] != y.shape:
            raise ValueError(
                "Expected `x` to be an array with one sample for each label, or a list or dict of "
                f"such arrays. Received: an array of shape {values.shape} and dtype "
                f"{values.dtype}, and {len(y)} labels. Of a dataset take arrays first, as in "
                "`x, y = next(iter(dataset))`"
            )
    if not len(y):
        raise ValueError("Expected at least one sample. Received: `x` and `y` of none")
    return x, y


def take_samples(x: Any, index: Any) -> Any:
    """The chosen samples of every input.

    Args:
        x: Array of N samples, or a list or dict of arrays.
        index: What to index the first axis with.

    Returns:
        Array or arrays in the same structure.
    """
    return keras.tree.map_structure(lambda values: values[index], x)


def _is_structure(x: Any) -> bool:
    """Whether it is a dict, or a list of arrays rather than of numbers."""
    is_list = isinstance(x, (list, tuple))
    return isinstance(x, dict) or (is_list and any(hasattr(each, "shape") for each in x))
