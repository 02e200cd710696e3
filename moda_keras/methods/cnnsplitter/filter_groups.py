"""Groups of filters of like importance: the genes of a chromosome."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from moda_keras.graph import HiddenActivation


class FilterGroups:
    """The groups of filters that genes switch on and off, for each class.

    The filters of a layer are ordered by their importance for the class and cut into groups of
    equal size, up to one. A chromosome has a gene for each group, layer after layer, the most
    important group first.

    Args:
        maps: The hidden activations of the convolutional layers.
        importance: For each of them a float array (C, D).
        groups: The number of groups in a layer; None for 10, or 100 from 256 filters on.

    Attributes:
        sizes: The number of groups of each layer.
        genes: G, the length of a chromosome.

    Examples:
        >>> import keras
        >>> import numpy as np
        >>> import moda_keras as mk
        >>> from moda_keras.methods.cnnsplitter.filter_groups import FilterGroups
        >>> model = keras.Sequential([
        ...     keras.Input((8, 1)),
        ...     keras.layers.Conv1D(4, 3, activation="relu", name="conv"),
        ...     keras.layers.Flatten(),
        ...     keras.layers.Dense(2),
        ... ])
        >>> importance = [np.array([[1.0, 4.0, 3.0, 2.0], [4.0, 3.0, 2.0, 1.0]])]
        >>> groups = FilterGroups(mk.find_hidden_activations(model), importance, groups=2)
        >>> groups.masks(np.array([[1, 0], [0, 1]]), class_index=0)["conv"].tolist()
        [[False, True, True, False], [True, False, False, True]]

    Source: CNNSplitter, section "importance-based grouping". The numbers of groups are those of the
    authors' settings.
    """

    def __init__(
        self,
        maps: Sequence[HiddenActivation],
        importance: Sequence[np.ndarray],
        groups: int | None,
    ):
        self.names = [each.name for each in maps]
        self.sizes = [_number_of_groups(each.units, groups) for each in maps]
        self.genes = sum(self.sizes)
        starts = np.cumsum([0, *self.sizes[:-1]])
        self.gene_of = {
            name: start + _groups_of(values, size)
            for name, start, values, size in zip(
                self.names, starts, importance, self.sizes, strict=True
            )
        }

    def masks(self, chromosomes: np.ndarray, class_index: int) -> dict[str, np.ndarray]:
        """The filters that chromosomes keep.

        A layer whose genes are all 0 keeps its most important group, for a layer of no filters is
        no layer.

        Args:
            chromosomes: Array (P, G) of 0 and 1.
            class_index: The class of the chromosomes.

        Returns:
            Dict from activation name to a bool array (P, D).
        """
        genes = chromosomes.astype(bool)
        starts = np.cumsum([0, *self.sizes])
        for start, end in pairwise(starts):
            genes[:, start] |= ~genes[:, start:end].any(axis=1)
        return {name: genes[:, table[class_index]] for name, table in self.gene_of.items()}


def _number_of_groups(filters: int, groups: int | None) -> int:
    default = 10 if filters < 256 else 100
    return min(filters, default if groups is None else groups)


def _groups_of(importance: np.ndarray, size: int) -> np.ndarray:
    """Int array (C, D): the group of each filter for each class."""
    order = np.argsort(-importance, axis=1, kind="stable")
    parts = np.array_split(np.arange(order.shape[1]), size)
    of_ranks = np.repeat(np.arange(size), [len(part) for part in parts])
    found = np.empty_like(order)
    np.put_along_axis(found, order, np.broadcast_to(of_ranks, order.shape), axis=1)
    return found
