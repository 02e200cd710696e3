"""How much an output changes if units are mutated."""

from collections.abc import Callable, Sequence

import numpy as np

from moda_keras.methods.masked_outputs import MaskedOutputs
from moda_keras.methods.search import SearchProblem

# The change of outputs (M, n, C) against the original's (n, C), for samples of classes (n,).
Change = Callable[[np.ndarray, np.ndarray, np.ndarray | None], np.ndarray]


def contributions(
    problem: SearchProblem,
    name: str,
    clusters: np.ndarray,
    factors: Sequence[float],
    change: Change,
    *,
    logits: bool,
) -> np.ndarray:
    """The summed change of each output over all mutations of a cluster and all samples.

    A mutation multiplies the outputs of a cluster's units by a factor.

    Args:
        problem: Model and data.
        name: Of the hidden activation.
        clusters: Int array (D,): the cluster of each unit.
        factors: One mutation for each.
        change: What counts as the change.
        logits: Whether it is that of the logits rather than of the model's outputs.

    Returns:
        Float64 array (C, clusters).

    Source: INCITE: the contribution of a neuron to an output is the sum of the distances from the
    original output over its mutants.
    """
    number = int(clusters.max()) + 1
    is_in = clusters == np.arange(number)[:, np.newaxis]
    mutants = [np.where(is_in, factor, 1.0) for factor in factors]
    masks = np.concatenate([np.ones((1, len(clusters))), *mutants])
    outputs = MaskedOutputs(problem.slicer, [name], logits=logits)
    total = np.zeros((len(masks), problem.classes))
    original = None
    for of_masks, rows, values in outputs.batches(problem.x, {name: masks}, problem.batch_size):
        values = values.astype("float64")
        if of_masks.start == 0:
            original = values[0]
        labels = None if problem.y is None else problem.y[rows]
        total[of_masks] += change(values, original, labels)
    return total[1:].reshape(len(factors), number, problem.classes).sum(axis=0).T


def change_of_predictions(
    values: np.ndarray, original: np.ndarray, labels: np.ndarray | None
) -> np.ndarray:
    """How many samples enter or leave the predictions of each class.

    Args:
        values: Float array (M, n, C).
        original: Float array (n, C).
        labels: Not used: samples of all classes count.

    Returns:
        Float array (M, C).
    """
    eye = np.eye(original.shape[1])
    return np.abs(eye[values.argmax(axis=2)] - eye[original.argmax(axis=1)]).sum(axis=1)


def change_of_logits(
    values: np.ndarray, original: np.ndarray, labels: np.ndarray | None
) -> np.ndarray:
    """The summed magnitude of the change of each logit, over samples of its own class.

    Args:
        values: Float array (M, n, C).
        original: Float array (n, C).
        labels: Int array (n,).

    Returns:
        Float array (M, C).
    """
    own = np.eye(original.shape[1])[labels]
    return np.einsum("mnc,nc->mc", np.abs(values - original), own)


def change_of_outputs(
    values: np.ndarray, original: np.ndarray, labels: np.ndarray | None
) -> np.ndarray:
    """The summed magnitude of the change of each output, over all samples.

    Args:
        values: Float array (M, n, C).
        original: Float array (n, C).
        labels: Not used.

    Returns:
        Float array (M, C).
    """
    return np.abs(values - original).sum(axis=1)
