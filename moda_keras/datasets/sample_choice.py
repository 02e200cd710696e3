"""Which samples of a split are taken."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# How many names an error message shows.
SHOWN = 12


@dataclass(frozen=True)
class SampleChoice:
    """Which samples are wanted.

    Attributes:
        class_names: The classes in the order of their labels, or None.
        limits: Training and test samples of each class, at most; None for all.
        seed: Seed of the choice and the order.
    """

    class_names: Sequence[str] | None
    limits: tuple[int | None, int | None]
    seed: int

    def classes(self, known: Sequence[str], default: Sequence[str]) -> list[int]:
        """The classes that are wanted.

        Args:
            known: Names of all classes.
            default: Those to take if none are wanted in particular.

        Returns:
            List of indices into `known`.

        Raises:
            ValueError: If a name is unknown or comes twice, or there is none.
        """
        names = list(default if self.class_names is None else self.class_names)
        is_text = isinstance(self.class_names, str)
        if is_text or not names or len(set(names)) != len(names) or not set(names) <= set(known):
            shown = str(list(known[:SHOWN]))
            shown += f" and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
            raise ValueError(
                f"`class_names` should be distinct names out of {shown}. "
                f"Received: class_names={self.class_names!r}"
            )
        index = {name: label for label, name in enumerate(known)}
        return [index[name] for name in names]


def choose_rows(
    labels: np.ndarray, classes: Sequence[int], limit: int | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Up to `limit` random samples of each class, in random order.

    Args:
        labels: Labels of the split, integers (N,).
        classes: The classes to take; their places here are the new labels.
        limit: Samples of each class, at most; None for all.
        seed: Seed of choice and order.

    Returns:
        Two arrays (n,): the rows, and the new labels, int32.
    """
    random = np.random.default_rng(seed)
    chosen = [random.permutation(np.flatnonzero(labels == label))[:limit] for label in classes]
    new_labels = np.repeat(np.arange(len(chosen), dtype="int32"), [len(rows) for rows in chosen])
    order = random.permutation(len(new_labels))
    return np.concatenate(chosen)[order], new_labels[order]


def places_of(classes: Sequence[int], num_classes: int) -> np.ndarray:
    """The place of each class among some.

    Args:
        classes: Class indices.
        num_classes: How many classes there are.

    Returns:
        Int32 array (num_classes,): the place in `classes`; -1 for a class that is not there.

    Raises:
        ValueError: If a class is unknown or comes twice, or there is none.
    """
    is_known = all(0 <= index < num_classes for index in classes)
    if not is_known or not 0 < len(classes) == len(set(classes)):
        raise ValueError(
            f"Expected `classes` to be distinct integers from 0 to {num_classes - 1}. "
            f"Received: classes={list(classes)}"
        )
    places = np.full(num_classes, -1, "int32")
    places[list(classes)] = np.arange(len(classes))
    return places
