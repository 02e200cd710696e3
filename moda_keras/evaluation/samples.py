"""Test samples of modules: inputs in any structure, labels in any of the usual forms."""

import warnings
from typing import Any

import keras
import numpy as np

from moda_keras.modules.module_set import ModuleSet
from moda_keras.observing.labelled_arrays import (
    as_class_indices,
    check_batch_size,
    check_labelled_arrays,
    is_dataset,
    loadable,
)


def check_samples(modules: ModuleSet, x: Any, y: Any) -> tuple[Any, np.ndarray]:
    """Inputs as NumPy arrays, and labels as class indices.

    Args:
        modules: Modules of the model that takes the samples.
        x: Inputs: an array of N samples, or a list or dict of arrays for several inputs, with None
            for an optional input.
        y: Labels: integers (N,) or (N, 1), one-hot (N, C), or class names (N,).

    Returns:
        The inputs, in the same structure, and an int64 array (N,).

    Raises:
        ValueError: If the numbers of samples and labels differ, or a label is not a class.
    """
    y = as_class_indices(y, modules.class_names)
    return check_labelled_arrays(x, y, modules.num_classes)


def predict(model: keras.Model, x: Any, batch_size: int = 256) -> np.ndarray:
    """The output of a model for arrays of numbers or strings, or for a dataset.

    Args:
        model: A model with one output, perhaps in a list or dict.
        x: Array of N samples, or a list or dict of arrays for a model of several inputs, with None
            for an optional input; or a dataset of batches.
        batch_size: Batch size for arrays.

    Returns:
        Float array (N, ...).

    Raises:
        ValueError: If an output is NaN: the largest of such scores means nothing.
    """
    check_batch_size(batch_size)
    batching = {} if is_dataset(x) else {"batch_size": batch_size}
    outputs = model.predict(loadable(x), verbose=0, **batching)
    scores = np.asarray(keras.tree.flatten(outputs)[0])
    if np.isnan(scores).any():
        count = np.isnan(scores).reshape(len(scores), -1).any(axis=1).sum()
        raise ValueError(
            f"Expected outputs without NaN. Received: NaN for {count} of {len(scores)} samples "
            f"from the model {model.name!r}. Check the data and the weights"
        )
    if not is_dataset(x) and _has_nan(x):
        warnings.warn(
            f"The samples have NaN, and the outputs of the model {model.name!r} are numbers: a "
            "layer makes numbers of NaN, or the backend does, as a fused ReLU may. If the NaN are "
            "not meant to be there, remove them",
            stacklevel=3,
        )
    return scores


def _has_nan(x: Any) -> bool:
    arrays = [np.asarray(each) for each in keras.tree.flatten(x) if each is not None]
    return any(each.dtype.kind == "f" and np.isnan(each).any() for each in arrays)
