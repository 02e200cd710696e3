"""The sub-tasks to measure: all subsets of the classes, or a sample of every size."""

import itertools
import math
from collections.abc import Sequence

import numpy as np

# All subsets are measured up to this number of classes.
ALL_SUBSETS = 10
# 95 % of a normal distribution lie within +-1.96 standard deviations.
NORMAL_QUANTILE = {0.9: 1.645, 0.95: 1.96, 0.99: 2.576}
# A small sample has sub-tasks of up to nine sizes, and up to six of each.
SAMPLED_SIZES = 9
OF_EACH_SIZE = 6

Subtask = tuple[int, ...]


def subtasks_of(
    classes: int, *, confidence: float = 0.95, margin: float = 0.08, seed: int = 0
) -> list[Subtask]:
    """The sub-tasks of a model with this number of classes, as the paper chooses them.

    All subsets of at least 2 classes for up to 10 classes; otherwise a random sample of the subsets
    of each size.

    Args:
        classes: C, at least 2.
        confidence: Confidence level of the sample: 0.9, 0.95 or 0.99.
        margin: Margin of error of the sample, between 0 and 1.
        seed: Seed of the sample.

    Returns:
        List of tuples of ascending class indices, by size.

    Raises:
        ValueError: If an argument is impossible.

    Examples:
        >>> from moda_keras.experiments import subtasks_of
        >>> len(subtasks_of(10)), len(subtasks_of(100)), subtasks_of(3)
        (1013, 14697, [(0, 1), (0, 2), (1, 2), (0, 1, 2)])

    Source: MODA (ICSE 2026), section 4.
    """
    if classes < 2:
        raise ValueError(f"Expected at least 2 classes. Received: classes={classes}")
    sizes = range(2, classes + 1)
    if classes <= ALL_SUBSETS:
        return [each for k in sizes for each in itertools.combinations(range(classes), k)]
    random = np.random.default_rng(seed)
    return [
        subtask
        for k in sizes
        for subtask in _draw(
            classes, k, sample_size(math.comb(classes, k), confidence, margin), random
        )
    ]


def sample_size(population: int, confidence: float = 0.95, margin: float = 0.08) -> int:
    """The sample size needed to estimate a proportion.

    Cochran's formula for the least favourable proportion, one half, with the correction for finite
    populations.

    Args:
        population: Size of the population.
        confidence: 0.9, 0.95 or 0.99.
        margin: Margin of error, between 0 and 1.

    Returns:
        Int, at most `population`.

    Raises:
        ValueError: If an argument is impossible.

    Examples:
        >>> from moda_keras.experiments import sample_size
        >>> sample_size(10**9), sample_size(4950), sample_size(100)
        (151, 146, 61)
    """
    if confidence not in NORMAL_QUANTILE:
        raise ValueError(
            f"Expected `confidence` in {list(NORMAL_QUANTILE)}. Received: confidence={confidence}"
        )
    if not 0 < margin < 1:
        raise ValueError(f"Expected `margin` between 0 and 1. Received: margin={margin}")
    infinite = (NORMAL_QUANTILE[confidence] / (2 * margin)) ** 2
    return min(population, math.ceil(infinite / (1 + (infinite - 1) / population)))


def draw_subtasks(subtasks: list[Subtask], number: int, seed: int = 0) -> list[Subtask]:
    """A random sample of sub-tasks, in the original order; all of them if `number` is larger.

    Args:
        subtasks: Sub-tasks.
        number: How many to draw.
        seed: Seed of the draw.

    Returns:
        List of sub-tasks.
    """
    rows = np.random.default_rng(seed).permutation(len(subtasks))[:number]
    return [subtasks[row] for row in sorted(rows)]


def draw_share(subtasks: list[Subtask], share: float, seed: int = 0) -> list[Subtask]:
    """A random fraction of the sub-tasks of each size, at least one, in the original order.

    Args:
        subtasks: Sub-tasks.
        share: The fraction, in (0, 1].
        seed: Seed of the draw.

    Returns:
        List of sub-tasks.
    """
    sizes = sorted({len(subtask) for subtask in subtasks})
    of_size = [[each for each in subtasks if len(each) == k] for k in sizes]
    return [
        each
        for group in of_size
        for each in draw_subtasks(group, max(1, round(share * len(group))), seed)
    ]


def sample_subtasks(classes: Sequence[int], *, seed: int = 0) -> list[Subtask]:
    """Draws a small sample: up to nine sizes, from pairs to all classes, up to six of each size.

    Sizes grow by a constant factor. Those of one size are pieces of random orders of the classes,
    so every class is in about as many as any other.

    Args:
        classes: Class indices, at least two.
        seed: Seed of the draw.

    Returns:
        List of tuples of ascending class indices, by size.

    Raises:
        ValueError: If there are fewer than two classes.

    Examples:
        >>> from moda_keras.tuning import sample_subtasks
        >>> sample_subtasks([0, 1, 2])
        [(0, 1), (0, 2), (1, 2), (0, 1, 2)]
        >>> len(sample_subtasks(range(10))), len(sample_subtasks(range(100)))
        (37, 49)
    """
    classes = [int(index) for index in classes]
    if len(classes) < 2:
        raise ValueError(f"Expected at least two `classes`. Received: classes={classes}")
    random = np.random.default_rng(seed)
    sizes = sorted({round(size) for size in np.geomspace(2, len(classes), SAMPLED_SIZES)})
    return [subtask for k in sizes for subtask in _draw_evenly(classes, k, random)]


def _draw_evenly(classes: list[int], k: int, random: np.random.Generator) -> list[Subtask]:
    if math.comb(len(classes), k) <= OF_EACH_SIZE:
        return list(itertools.combinations(sorted(classes), k))
    drawn: dict[Subtask, None] = {}
    while len(drawn) < OF_EACH_SIZE:
        order = random.permutation(classes).tolist()
        pieces = [order[start : start + k] for start in range(0, len(order) - k + 1, k)]
        drawn.update((tuple(sorted(piece)), None) for piece in pieces)
    return sorted(list(drawn)[:OF_EACH_SIZE])


def _draw(classes: int, k: int, number: int, random: np.random.Generator) -> list[Subtask]:
    """`number` distinct subsets of `k` classes, sorted."""
    drawn: set[Subtask] = set()
    while len(drawn) < number:
        subset = random.choice(classes, size=k, replace=False)
        drawn.add(tuple(sorted(subset.tolist())))
    return sorted(drawn)
