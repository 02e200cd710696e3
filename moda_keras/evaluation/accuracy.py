"""Accuracy on a sub-task: telling k of the C classes apart."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from moda_keras.modules.module_set import ModuleSet
from moda_keras.reuse.compose import compose


def reuse_accuracy(
    modules: ModuleSet,
    classes: Iterable[int | str],
    x: Any,
    y: Any,
    *,
    batch_size: int = 256,
    composed: keras.Model | None = None,
) -> float:
    """Accuracy of the composed model on the samples of its classes.

    Args:
        modules: The modules.
        classes: Class indices or names, k of them.
        x: Test inputs, an array of N samples of any classes; those of other classes are left out.
        y: Labels, integers (N,) of the original model.
        batch_size: Batch size of the prediction.
        composed: The composed model, if it is at hand; otherwise it is made.

    Returns:
        Float in [0, 1].

    Raises:
        ValueError: If a class is unknown or repeated, or no sample is of these classes.

    Source: MODA (ICSE 2026), section 4, "Reuse Accuracy".
    """
    classes = modules.resolve_classes(classes)
    x, targets = _of_classes(x, y, classes)
    composed = composed or compose(modules, classes)
    scores = composed.predict(x, batch_size=batch_size, verbose=0)
    return _accuracy(scores, targets)


def full_accuracy(
    model: keras.Model, classes: Iterable[int], x: Any, y: Any, *, batch_size: int = 256
) -> float:
    """Accuracy of the full model on the samples of k classes, choosing among these k only.

    Args:
        model: The original model, output (batch, C).
        classes: Class indices, k of them.
        x: Test inputs, an array of N samples of any classes; those of other classes are left out.
        y: Labels, integers (N,).
        batch_size: Batch size of the prediction.

    Returns:
        Float in [0, 1].
    """
    classes = np.asarray(list(classes))
    x, targets = _of_classes(x, y, classes)
    scores = model.predict(x, batch_size=batch_size, verbose=0)
    return _accuracy(scores[:, classes], targets)


def _of_classes(x: Any, y: Any, classes: np.ndarray) -> tuple[Any, np.ndarray]:
    """The samples of these classes, and for each the position of its class among them."""
    y = np.asarray(y).reshape(-1)
    chosen = np.isin(y, classes)
    if not chosen.any():
        raise ValueError(
            f"Expected samples of the classes {list(map(int, classes))}. Received: labels of other "
            "classes only"
        )
    position = {label: i for i, label in enumerate(classes)}
    return x[chosen], np.array([position[label] for label in y[chosen]])


def _accuracy(scores: np.ndarray, targets: np.ndarray) -> float:
    return float((np.asarray(scores).argmax(axis=-1) == targets).mean())
