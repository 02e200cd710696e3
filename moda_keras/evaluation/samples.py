"""Test samples of modules: inputs in any structure, labels in any of the usual forms."""

from typing import Any

import keras
import numpy as np

from moda_keras.modules.module_set import ModuleSet
from moda_keras.observing.labelled_arrays import as_class_indices, check_labelled_arrays


def check_samples(modules: ModuleSet, x: Any, y: Any) -> tuple[Any, np.ndarray]:
    """Inputs as NumPy arrays, and labels as class indices.

    Args:
        modules: Modules of the model that takes the samples.
        x: Inputs: an array of N samples, or a list or dict of arrays for several inputs.
        y: Labels: integers (N,) or (N, 1), one-hot (N, C), or class names (N,).

    Returns:
        The inputs, in the same structure, and an int64 array (N,).

    Raises:
        ValueError: If the numbers of samples and labels differ, or a label is not a class.
    """
    y = as_class_indices(y, modules.class_names)
    return check_labelled_arrays(x, y, modules.num_classes)


def predict(model: keras.Model, x: Any, batch_size: int = 256) -> np.ndarray:
    """The outputs of a model for arrays of numbers or strings.

    Args:
        model: A model with one output.
        x: Array of N samples, or a list or dict of arrays for a model of several inputs.
        batch_size: Batch size of the prediction.

    Returns:
        Float array (N, ...).
    """
    # Keras's own array loading refuses arrays of strings, and takes tensors of them.
    x = keras.tree.map_structure(
        lambda each: keras.ops.convert_to_tensor(each) if each.dtype == object else each, x
    )
    return np.asarray(model.predict(x, batch_size=batch_size, verbose=0))
