"""Labelled samples as arrays, from anything that `fit` takes."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np

from moda_keras.evaluation.samples import check_samples
from moda_keras.modules.module_set import ModuleSet
from moda_keras.observing.labelled_arrays import check_steps, is_dataset, take_samples
from moda_keras.ops.labels import check_sample_weight


def gather_samples(
    modules: ModuleSet, x: Any, y: Any = None, *, steps: int | None = None
) -> tuple[Any, np.ndarray]:
    """Inputs as NumPy arrays and labels as class indices, all in memory.

    Args:
        modules: Modules of the model that takes the samples.
        x: Array of N samples, a list or dict of arrays for a model of several inputs, or a dataset
            of batches `(inputs, labels)` or `(inputs, labels, sample weights)`: a
            `tf.data.Dataset`, `DataLoader`, `PyDataset` or generator. Samples of weight 0 are left
            out.
        y: Labels: integers (N,), one-hot (N, C) or class names (N,); None if `x` is a dataset.
        steps: Number of batches to draw from a dataset; all by default.

    Returns:
        The inputs, in the same structure, and an int64 array (N,).

    Raises:
        ValueError: If there are no labels or no samples, their numbers differ, a label is not a
            class, a weight is negative or not finite, a dataset comes with `y`,
            or its batches differ in the shape of a sample.
    """
    check_steps(steps)
    if is_dataset(x):
        if y is not None:
            raise ValueError(
                "Expected labels in the batches of the dataset `x`, and y=None. Received: "
                f"x={type(x).__name__} and y={type(y).__name__}"
            )
        x, y = _join(_unpack(batch) for batch in itertools.islice(_batches(x, steps), steps))
    return check_samples(modules, x, y)


def _batches(dataset: Any, steps: int | None) -> Iterable[Any]:
    if not isinstance(dataset, keras.utils.PyDataset):
        return dataset
    number = dataset.num_batches
    if number is None and steps is None:
        raise ValueError(
            "Expected `steps`, the number of batches to draw, for a PyDataset without an end. "
            "Received: steps=None"
        )
    return (dataset[index] for index in (itertools.count() if number is None else range(number)))


def _unpack(batch: Any) -> tuple[Any, Any]:
    x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
    if y is None:
        raise ValueError(
            "Expected a dataset of batches (inputs, labels). Received: a batch without labels"
        )
    x, y = keras.tree.map_structure(
        lambda each: None if each is None else keras.ops.convert_to_numpy(each), (x, y)
    )
    if weight is None:
        return x, y
    weight = keras.ops.convert_to_numpy(weight)
    check_sample_weight(weight)
    kept = weight.reshape(-1) != 0
    return take_samples(x, kept), y[kept]


def _join(batches: Iterator[tuple[Any, Any]]) -> tuple[Any, Any]:
    parts = list(batches)
    if not parts:
        raise ValueError("Expected at least one batch. Received: a dataset `x` without any")
    return keras.tree.map_structure(lambda *arrays: _concatenate(arrays), *parts)


def _concatenate(arrays: tuple[np.ndarray | None, ...]) -> np.ndarray | None:
    if all(array is None for array in arrays):  # an optional input
        return None
    shapes = sorted({array.shape[1:] for array in arrays})
    if len(shapes) > 1:
        raise ValueError(
            "Expected samples of one shape in all batches. Received: samples of the shapes "
            f"{shapes}. Pad them to the same length"
        )
    return np.concatenate(arrays)
