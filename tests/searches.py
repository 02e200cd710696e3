"""How far the searches of the tests go: short in every run, long if `MODA_KERAS_NIGHTLY=1`."""

import os

import numpy as np
from hypothesis import settings

IS_LONG = os.environ.get("MODA_KERAS_NIGHTLY") == "1"
EXAMPLES = 1000


def search(examples):
    """The settings of a search: the same `examples` in every run, or 1,000 other ones each time."""
    if IS_LONG:
        return settings(max_examples=EXAMPLES, deadline=None, print_blob=True)
    return settings(max_examples=examples, deadline=None, derandomize=True)


def more_cases(number, *, samples, units, layers=1, seed=0):
    """Random shapes for a long search; none for a short one.

    Args:
        number: How many.
        samples: The largest number of samples.
        units: The largest number of units of an activation.
        layers: The largest number of activations.
        seed: Seed of the shapes.

    Returns:
        Tuples: shapes of the activations, axes of their units, classes, whether labels are one-hot.
    """
    random = np.random.default_rng(seed)
    return tuple(_case(random, samples, units, layers) for _ in range(number if IS_LONG else 0))


def _case(random, samples, units, layers):
    batch = int(random.integers(1, samples + 1))
    shapes, axes = [], []
    for _ in range(random.integers(1, layers + 1)):
        positions = random.integers(1, 4, size=random.integers(0, 4))
        axis = int(random.integers(1, len(positions) + 2))
        shape = np.insert(positions, axis - 1, random.integers(1, units + 1))
        shapes.append((batch, *shape.tolist()))
        axes.append(axis if random.random() < 0.5 else axis - len(shape) - 1)
    return tuple(shapes), tuple(axes), int(random.integers(2, 8)), bool(random.random() < 0.5)
