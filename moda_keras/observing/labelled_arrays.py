"""Checks of samples and labels that are held in arrays."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from moda_keras.ops import check_labels

FROM_DATASET = "Of a dataset take arrays first, as in `x, y = next(iter(dataset))`"


def check_labelled_arrays(x: Any, y: Any, num_classes: int) -> tuple[Any, np.ndarray]:
    """Inputs as NumPy arrays, and labels as class indices.

    Args:
        x: Array of N samples, or a list or dict of arrays for a model of several inputs.
        y: Labels: integers (N,) or (N, 1), or one-hot (N, C).
        num_classes: C, the number of classes.

    Returns:
        The inputs, in the same structure, and an int64 array (N,).

    Raises:
        ValueError: If there are no labels or no samples, their numbers differ, a label is no
            class, or the inputs are no arrays.
    """
    refuse_dataset(x)
    if y is None:
        raise ValueError("Expected labels in `y`. Received: y=None")
    refuse_dataset(y, "y")
    y = np.asarray(y)
    _check_whole_numbers(y, num_classes)
    check_labels(y, num_classes)
    is_one_hot = y.ndim == 2 and y.shape[1] > 1
    y = y.argmax(axis=1) if is_one_hot else y.reshape(-1).astype("int64")
    x = keras.tree.map_structure(np.asarray, x) if _is_structure(x) else np.asarray(x)
    for values in keras.tree.flatten(x):
        if values.dtype == object or values.shape[:1] != y.shape:
            raise ValueError(
                "Expected `x` to be an array with one sample for each label, or a list or dict of "
                f"such arrays. Received: an array of shape {values.shape} and dtype "
                f"{values.dtype}, and {len(y)} labels. {FROM_DATASET}"
            )
    if not len(y):
        raise ValueError("Expected at least one sample. Received: `x` and `y` of none")
    return x, y


def refuse_dataset(values: Any, name: str = "x") -> None:
    """Raises a ValueError that says what to do, if samples come in batches or one by one.

    Args:
        values: What was given for arrays.
        name: Of the argument.
    """
    is_array = hasattr(values, "__array__") or hasattr(values, "shape")
    is_plain = isinstance(values, (Sequence, Mapping))
    is_batches = isinstance(values, keras.utils.PyDataset)
    if is_batches or (isinstance(values, Iterable) and not is_array and not is_plain):
        raise ValueError(
            f"Expected `{name}` to be an array, or a list or dict of arrays. Received: a "
            f"{type(values).__name__}. {FROM_DATASET}"
        )


def take_samples(x: Any, index: Any) -> Any:
    """The chosen samples of every input.

    Args:
        x: Array of N samples, or a list or dict of arrays.
        index: What to index the first axis with.

    Returns:
        Array or arrays in the same structure.
    """
    return keras.tree.map_structure(lambda values: values[index], x)


def draw_of_each_class(
    y: np.ndarray, classes: Iterable[int], number: int | float | None, seed: int = 0
) -> list[np.ndarray]:
    """Random samples of each class.

    Args:
        y: Labels, integers (N,).
        classes: The classes to draw from.
        number: How many samples of each class at most: an int; or a float in (0, 1], that fraction
            of the class's samples, at least one; or None for all of them.
        seed: Seed of the draw.

    Returns:
        For each class an int array of positions in `y`, in random order.
    """
    random = np.random.default_rng(seed)
    drawn = []
    for label in classes:
        rows = random.permutation(np.flatnonzero(y == label))
        is_fraction = isinstance(number, float)
        drawn.append(rows[: max(1, round(number * len(rows))) if is_fraction else number])
    return drawn


def _check_whole_numbers(y: np.ndarray, num_classes: int) -> None:
    if y.dtype.kind not in "biuf":
        raise ValueError(
            f"Expected `y` to be class indices or one-hot rows. Received: y of dtype {y.dtype}"
        )
    if y.ndim == 2 and y.shape[1] == num_classes:
        return
    broken = y[y != np.floor(y)]
    if broken.size:
        raise ValueError(
            f"Expected integer labels in `y`, from 0 to {num_classes - 1}. Received: "
            f"{broken.size} of {y.size} that are not, the first {broken.flat[0]}"
        )


def _is_structure(x: Any) -> bool:
    """Whether it is a dict, or a list of arrays rather than of numbers."""
    is_list = isinstance(x, (list, tuple))
    return isinstance(x, dict) or (is_list and any(hasattr(each, "shape") for each in x))
