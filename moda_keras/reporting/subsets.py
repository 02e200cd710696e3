"""Subsets of the classes to look at."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np


def random_subsets(classes: Sequence[int], number: int, seed: int = 0) -> list[tuple[int, ...]]:
    """Different subsets of the classes, small and large ones alike.

    Args:
        classes: Class indices.
        number: How many subsets; fewer if there are no more.
        seed: Seed of the draw.

    Returns:
        List of ascending tuples of at least one class.
    """
    random, classes = np.random.default_rng(seed), np.asarray(classes)
    number = min(number, 2 ** min(len(classes), 60) - 1)
    drawn: dict[tuple[int, ...], None] = {}
    sizes = np.unique(np.geomspace(1, len(classes), num=12).round().astype(int))
    for attempt in itertools.count():
        if len(drawn) == number:
            return list(drawn)
        # Sizes in turn; of sizes that have no more subsets, any other.
        is_late = attempt > 20 * number
        size = random.integers(1, len(classes) + 1) if is_late else sizes[attempt % len(sizes)]
        chosen = random.choice(classes, size=int(size), replace=False)
        drawn[tuple(sorted(chosen.tolist()))] = None


def all_subsets(classes: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """All subsets of at least one class, by size.

    Args:
        classes: Class indices.

    Yields:
        Tuples of class indices.
    """
    classes = [int(index) for index in classes]
    for size in range(1, len(classes) + 1):
        yield from itertools.combinations(classes, size)
