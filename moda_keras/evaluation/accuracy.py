"""Accuracy of full and composed models, over all classes or on a sub-task of k of them."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np

from moda_keras.evaluation.logits import predict_logits
from moda_keras.evaluation.samples import check_samples, predict
from moda_keras.graph import require_single_output, to_functional
from moda_keras.modules.checks import check_modules
from moda_keras.modules.module_set import ModuleSet
from moda_keras.observing.labelled_arrays import check_labelled_arrays, take_samples
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
        x: Test inputs: an array of N samples, or a list or dict of arrays for a model of several
            inputs. Samples of other classes are ignored.
        y: Labels of the original model: integers (N,) or (N, 1), one-hot (N, C), or class names.
        batch_size: Batch size of the prediction.
        composed: The composed model, if it exists already, such as one that was repaired with
            `calibration_data`; otherwise it is built, without repair.

    Returns:
        Float in [0, 1].

    Raises:
        ValueError: If a class is unknown or repeated, or no sample is of these classes.

    Source: MODA (ICSE 2026), section 4, "Reuse Accuracy".
    """
    check_modules(modules)
    classes = modules.resolve_classes(classes).tolist()
    x, y = _of_classes(*check_samples(modules, x, y), classes)
    composed = composed or compose(modules, classes)
    scores = predict(composed, x, batch_size)
    return float(is_correct(scores, y, classes).mean())


def full_accuracy(
    model: keras.Model, classes: Iterable[int], x: Any, y: Any, *, batch_size: int = 256
) -> float:
    """Accuracy of the full model on the samples of k classes, choosing among these k only.

    Logits are compared, not the probabilities of all classes, which may all be 0.

    Args:
        model: The original model, output (batch, C).
        classes: Class indices, k of them.
        x: Test inputs: an array of N samples, or a list or dict of arrays for a model of several
            inputs. Samples of other classes are ignored.
        y: Labels: integers (N,) or (N, 1), or one-hot (N, C).
        batch_size: Batch size of the prediction.

    Returns:
        Float in [0, 1].

    Raises:
        ValueError: If a class or a label is unknown, no sample is of these classes, or the model is
            not built, its `call` is no graph, or its output is another.
    """
    graph_of_model = to_functional(model)
    require_single_output(graph_of_model)
    num_classes = graph_of_model.outputs[0].shape[-1]
    classes = [int(index) for index in classes]
    if not classes or not all(0 <= index < num_classes for index in classes):
        raise ValueError(
            f"Expected `classes` to be class indices from 0 to {num_classes - 1}. Received: "
            f"classes={classes}"
        )
    x, y = _of_classes(*check_labelled_arrays(x, y, num_classes), classes)
    scores = predict_logits(graph_of_model, x, batch_size)
    return float(is_correct(scores[:, classes], y, classes).mean())


def is_correct(scores: Any, y: np.ndarray, classes: Sequence[int] | None = None) -> np.ndarray:
    """Which samples a model classifies correctly.

    Args:
        scores: Outputs of the model, (N, k).
        y: Labels, integers (N,).
        classes: The label that each output stands for; 0 to k - 1 by default.

    Returns:
        Bool array (N,).
    """
    best = np.asarray(scores).argmax(axis=-1)
    return (best if classes is None else np.asarray(classes)[best]) == y


def accuracy_by_class(correct: np.ndarray, y: np.ndarray, num_classes: int) -> np.ndarray:
    """The fraction of each class's samples that are classified correctly.

    Args:
        correct: Bool array (N,), as from `is_correct`.
        y: Labels, integers (N,).
        num_classes: C, the number of classes.

    Returns:
        Float array (C,); NaN for a class without samples.
    """
    total = np.bincount(y, minlength=num_classes).astype(float)
    return np.bincount(y[correct], minlength=num_classes) / np.where(total, total, np.nan)


def _of_classes(x: Any, y: np.ndarray, classes: list[int]) -> tuple[Any, np.ndarray]:
    chosen = np.isin(y, classes)
    if not chosen.any():
        raise ValueError(
            f"Expected samples of the classes {classes}. Received: labels of other classes only"
        )
    return take_samples(x, chosen), y[chosen]
