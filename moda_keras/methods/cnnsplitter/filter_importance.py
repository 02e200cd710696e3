"""How important each filter is for each class."""

import numpy as np

from moda_keras.methods.mean_magnitude import mean_magnitudes
from moda_keras.methods.search import SearchProblem

CONFIDENCE = 0.9


def filter_importance(problem: SearchProblem, logits: np.ndarray) -> list[np.ndarray]:
    """The mean magnitude of each filter's feature map, over a class's confident samples.

    Args:
        problem: Model and data.
        logits: Float array (N, C): those of the whole model.

    Returns:
        For each map a float64 array (C, D).

    Source: CNNSplitter, section "importance-based grouping": the L1 norm of the feature map. The
    mean over positions orders the filters of a layer as the sum does.
    """
    rows = confident_samples(logits, problem.y)
    found = mean_magnitudes(problem, rows)
    return [found[each.name] for each in problem.maps]


def confident_samples(logits: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The samples whose own class has a probability of at least 0.9; of a class without any, all.

    Args:
        logits: Float array (N, C).
        y: Int array (N,).

    Returns:
        Int array of samples, in ascending order.

    Examples:
        >>> import numpy as np
        >>> from moda_keras.methods.cnnsplitter.filter_importance import confident_samples
        >>> logits = np.array([[5.0, 0.0], [0.1, 0.0], [0.0, 1.0]])
        >>> confident_samples(logits, np.array([0, 0, 1])).tolist()
        [0, 2]
    """
    own = logits[np.arange(len(y)), y]
    differences = np.exp(np.minimum(logits.astype("float64") - own[:, np.newaxis], 700.0))
    is_confident = 1 / differences.sum(axis=1) >= CONFIDENCE
    has_any = np.bincount(y[is_confident], minlength=logits.shape[1]) > 0
    return np.flatnonzero(is_confident | ~has_any[y])
