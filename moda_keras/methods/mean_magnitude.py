"""The mean magnitude of each unit by class."""

import numpy as np

from moda_keras.methods.search import SearchProblem
from moda_keras.observing.criteria import Criterion
from moda_keras.observing.importance_observer import ImportanceObserver
from moda_keras.observing.labelled_arrays import take_samples
from moda_keras.ops import unit_magnitudes


class MeanMagnitude(Criterion):
    """The mean magnitude of a unit's activation over a class's samples; of a map, over positions.

    Examples:
        >>> import numpy as np
        >>> from moda_keras.methods.mean_magnitude import MeanMagnitude
        >>> sums, samples = [np.array([[3.0, 1.0]])], np.array([2])
        >>> MeanMagnitude().importance(sums, samples, np.ones(2)).tolist()
        [[1.5, 0.5]]
    """

    name = "mean_magnitude"

    def observe(self, activation, gradients):
        return [
            unit_magnitudes(
                activation.values,
                axis=activation.axis,
                non_negative=activation.non_negative,
                mask=activation.mask,
            )
        ]

    def importance(self, sums, samples, outgoing):
        return sums[0] / samples[:, np.newaxis]


def mean_magnitudes(
    problem: SearchProblem, rows: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """The mean magnitude of each unit by class.

    Args:
        problem: Model and data.
        rows: Int array: the samples that count; all by default.

    Returns:
        Dict from activation name to a float64 array (C, D).

    Raises:
        ValueError: If a weight, an input or an activation is NaN or infinite.
    """
    rows = np.arange(len(problem.y)) if rows is None else rows
    exact = {each.name: 0.0 for each in problem.hidden}
    observer = ImportanceObserver(problem.slicer.graph, MeanMagnitude(), problem.classes, exact)
    observer.observe(
        take_samples(problem.x, rows), problem.y[rows], batch_size=problem.batch_size, verbose=0
    )
    return observer.metric.importance({name: np.ones(1) for name in exact})
