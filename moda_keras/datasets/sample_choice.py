"""Which classes and samples of a data set are taken."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moda_keras.messages import listed, shortened
from moda_keras.observing.labelled_arrays import draw_of_each_class

# ImageNet's classes in sorted order of their synsets: dog breeds are 151 (n02085620, Chihuahua) to
# 268.
FIRST_DOG = 151
IMAGENET_CLASSES = 100
# How many names an error message shows.
SHOWN = 12


@dataclass(frozen=True, eq=False)
class StoredSplit:
    """One split of a data set, before samples are chosen.

    Attributes:
        samples: Array (N, ...): images, or paths of image files.
        labels: Int array (N,): indices into `class_names`.
        class_names: Names of all classes.
    """

    samples: np.ndarray
    labels: np.ndarray
    class_names: Sequence[str]


@dataclass(frozen=True)
class SampleChoice:
    """The classes and samples to take.

    Attributes:
        class_names: The classes in the order of their labels, or None for the default.
        limits: Maximum number of training and of test samples per class; None for all.
        seed: Seed of the choice and the order.
    """

    class_names: Sequence[str] | None
    limits: tuple[int | None, int | None]
    seed: int

    def classes(self, known: Sequence[str], default: Sequence[str]) -> list[int]:
        """The classes to take.

        Args:
            known: Names of all classes.
            default: Names to take if `class_names` is None.

        Returns:
            List of indices into `known`.

        Raises:
            ValueError: If `class_names` is empty or has unknown or repeated names.
        """
        names = list(default if self.class_names is None else self.class_names)
        is_text = isinstance(self.class_names, str)
        if is_text or not names or len(set(names)) != len(names) or not set(names) <= set(known):
            received = shortened(repr(self.class_names), 300) if is_text else listed(names)
            raise ValueError(
                f"Expected `class_names` to be distinct names out of {listed(known, SHOWN)}. "
                f"Received: class_names={received}"
            )
        index = {name: label for label, name in enumerate(known)}
        return [index[name] for name in names]


def choose_rows(
    labels: np.ndarray, classes: Sequence[int], limit: int | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Chooses random samples of each class.

    Args:
        labels: Labels of the split, integers (N,).
        classes: The classes to take; a class's position here is its new label.
        limit: Maximum number of samples per class; None for all.
        seed: Seed of the choice and the order.

    Returns:
        Two arrays (n,) in random order: the rows, and the new labels, int32.
    """
    random = np.random.default_rng(seed)
    chosen = draw_of_each_class(labels, classes, limit, random)
    new_labels = np.repeat(np.arange(len(chosen), dtype="int32"), [len(rows) for rows in chosen])
    order = random.permutation(len(new_labels))
    return np.concatenate(chosen)[order], new_labels[order]


def rows_of_classes(
    labels: np.ndarray, classes: Sequence[int], num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """All samples of some classes, in their order.

    Args:
        labels: Labels, integers (N,).
        classes: The classes to take; a class's position here is its new label.
        num_classes: How many classes there are.

    Returns:
        Two arrays (n,): the rows, and the new labels, int32.
    """
    places = np.full(num_classes, -1, "int32")
    places[list(classes)] = np.arange(len(classes))
    rows = np.flatnonzero(places[labels] >= 0)
    return rows, places[labels[rows]]


def check_classes(classes: Sequence[int], num_classes: int) -> None:
    """Raises a ValueError unless there are classes, all valid indices and distinct."""
    is_known = all(0 <= index < num_classes for index in classes)
    if not is_known or not 0 < len(classes) == len(set(classes)):
        raise ValueError(
            f"Expected `classes` to be distinct integers from 0 to {num_classes - 1}. "
            f"Received: classes={list(classes)}"
        )


def choose_imagenet_classes(name: str, synsets: Sequence[str], *, seed: int = 0) -> list[str]:
    """Chooses 100 of ImageNet's 1,000 classes.

    "imagenet100r" takes classes at random, "imagenet100d" the dogs 151 to 250. The papers publish
    neither a rule nor a list, so these are not the papers' classes.

    Args:
        name: "imagenet100r" or "imagenet100d".
        synsets: All synset ids, sorted.
        seed: Seed of the random choice.

    Returns:
        List of synset ids, sorted.

    Raises:
        ValueError: If the name is unknown.

    Examples:
        >>> from moda_keras import datasets
        >>> synsets = [f"n{number:08}" for number in range(1000)]
        >>> datasets.choose_imagenet_classes("imagenet100d", synsets)[:2]
        ['n00000151', 'n00000152']
        >>> len(datasets.choose_imagenet_classes("imagenet100r", synsets))
        100
    """
    if name == "imagenet100d":
        return list(synsets[FIRST_DOG : FIRST_DOG + IMAGENET_CLASSES])
    if name != "imagenet100r":
        raise ValueError(
            f'Expected `name` to be "imagenet100r" or "imagenet100d". Received: name={name!r}'
        )
    # Unlike a Generator's, the stream of a RandomState is the same in all versions of numpy.
    chosen = np.random.RandomState(seed).permutation(len(synsets))[:IMAGENET_CLASSES]
    return [synsets[index] for index in sorted(chosen)]
