"""A few sub-tasks that stand for all."""

import itertools
import math
from collections.abc import Sequence

import numpy as np

from moda_keras.evaluation.subtasks import Subtask

SIZES = 9
OF_EACH_SIZE = 6


def sample_subtasks(classes: Sequence[int], *, seed: int = 0) -> list[Subtask]:
    """Draws sub-tasks of up to nine sizes, from pairs to all classes, up to six of each size.

    Sizes grow by a constant factor. Those of one size are pieces of random orders of the classes,
    so that every class is in about as many as any other.

    Args:
        classes: Class indices, at least two.
        seed: Seed of the draw.

    Returns:
        List of tuples of ascending class indices, by size.

    Raises:
        ValueError: If there are fewer than two classes.

    Example:
        >>> from moda_keras.tuning import sample_subtasks
        >>> sample_subtasks([0, 1, 2])
        [(0, 1), (0, 2), (1, 2), (0, 1, 2)]
        >>> len(sample_subtasks(range(10))), len(sample_subtasks(range(100)))
        (37, 49)
    """
    classes = [int(index) for index in classes]
    if len(classes) < 2:
        raise ValueError(
            f"Expected at least two classes, to tell apart. Received: classes={classes}"
        )
    random = np.random.default_rng(seed)
    sizes = sorted({round(size) for size in np.geomspace(2, len(classes), SIZES)})
    return [subtask for k in sizes for subtask in _draw(classes, k, random)]


def _draw(classes: list[int], k: int, random: np.random.Generator) -> list[Subtask]:
    if math.comb(len(classes), k) <= OF_EACH_SIZE:
        return list(itertools.combinations(sorted(classes), k))
    drawn: dict[Subtask, None] = {}
    while len(drawn) < OF_EACH_SIZE:
        order = random.permutation(classes).tolist()
        pieces = [order[start : start + k] for start in range(0, len(order) - k + 1, k)]
        drawn.update((tuple(sorted(piece)), None) for piece in pieces)
    return sorted(list(drawn)[:OF_EACH_SIZE])
