"""Compositions of candidate modules, one of each class, and their fitness."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moda_keras.modules.jaccard import jaccard_indices


@dataclass(frozen=True, eq=False)
class Compositions:
    """K compositions of candidates of the same classes.

    A composition predicts the class whose candidate gives the largest own logit; of equal ones the
    class that comes first in `classes`.

    Attributes:
        classes: The classes that have a candidate.
        members: Int array (K, classes): which candidate of each class.
        largest: Float array (K, N): the largest logit for each sample.
        is_hit: Bool array (K, N): whether that is the logit of the sample's class.
        distance: Float array (K,): the sum of the Jaccard distances over pairs of classes.
        accuracy: Float array (K,): the share of hits among samples of `classes`.
    """

    classes: tuple[int, ...]
    members: np.ndarray
    largest: np.ndarray
    is_hit: np.ndarray
    distance: np.ndarray
    accuracy: np.ndarray

    @property
    def mean_distance(self) -> np.ndarray:
        """Float array (K,): the mean Jaccard distance over pairs of classes."""
        number = len(self.classes)
        return self.distance / (number * (number - 1) / 2)


@dataclass(frozen=True, eq=False)
class Candidates:
    """P candidate modules of every class.

    Attributes:
        logits: Float array (C, P, N): each candidate's logit of its class.
        masks: Bool array (C, P, F): the filters it keeps, of all layers.
        whole: Float array (N, C): the logits of the whole model.
        y: Int array (N,): the classes of the samples.
    """

    logits: np.ndarray
    masks: np.ndarray
    whole: np.ndarray
    y: np.ndarray

    def of(self, label: int) -> Compositions:
        """The candidates of one class as compositions of one member."""
        logits = self.logits[label]
        return Compositions(
            classes=(label,),
            members=np.arange(len(logits))[:, np.newaxis],
            largest=logits,
            is_hit=np.broadcast_to(self.y == label, logits.shape),
            distance=np.zeros(len(logits)),
            accuracy=np.ones(len(logits)),
        )

    def distances(self, first: Compositions, second: Compositions) -> np.ndarray:
        """Float array (K, L): the summed distances of all pairs of compositions, joined."""
        total = first.distance[:, np.newaxis] + second.distance
        for i, a in enumerate(first.classes):
            for j, b in enumerate(second.classes):
                table = 1 - jaccard_indices(self.masks[a], self.masks[b])
                total = total + table[np.ix_(first.members[:, i], second.members[:, j])]
        return total

    def accuracies(self, first: Compositions, second: Compositions) -> np.ndarray:
        """Float array (K, L): the accuracy of all pairs, joined, on samples of their classes."""
        rows = np.isin(self.y, first.classes + second.classes)
        largest, is_hit = second.largest[:, rows], second.is_hit[:, rows]
        found = np.empty((len(first.members), len(second.members)))
        for i, (own, own_hit) in enumerate(
            zip(first.largest[:, rows], first.is_hit[:, rows], strict=True)
        ):
            found[i] = np.where(own >= largest, own_hit, is_hit).mean(axis=1)
        return found

    def whole_accuracy(self, classes: Sequence[int]) -> float:
        """The accuracy of the whole model on samples of these classes, among these classes."""
        rows = np.isin(self.y, classes)
        found = np.asarray(classes)[self.whole[rows][:, list(classes)].argmax(axis=1)]
        return float(np.mean(found == self.y[rows]))


def best_compositions(
    candidates: Candidates,
    classes: Sequence[int],
    *,
    kept: tuple[int, int],
    accuracy_loss: float,
    keep_first: bool,
) -> Compositions:
    """Joins candidates to compositions of all classes, and keeps good ones on the way.

    Compositions of neighbouring classes are joined, two and two, until one kind is left. After
    each step those stay whose accuracy is at most `accuracy_loss` below that of the whole model on
    the same classes, but at least `kept[0]` and at most `kept[1]`, the most accurate ones.

    Args:
        candidates: Those of all classes.
        classes: The order of the classes.
        kept: The least and the largest number of compositions that stay.
        accuracy_loss: Float >= 0.
        keep_first: Whether the composition of all first candidates stays in any case.

    Returns:
        `Compositions` of all classes.

    Source: CNNSplitter, section "pruning-based evaluation", and the authors' code, whose bounds on
    accuracy are numbers set for each model by hand.
    """
    parts = [candidates.of(label) for label in classes]
    while len(parts) > 1:
        pairs = zip(parts[::2], parts[1::2], strict=False)
        joined = [_join(candidates, *pair, kept, accuracy_loss, keep_first) for pair in pairs]
        parts = joined + parts[len(joined) * 2 :]
    return parts[0]


def fitness_of_candidates(
    compositions: Compositions, fitness: np.ndarray, classes: int, population: int
) -> np.ndarray:
    """The fitness of a candidate: that of the best composition with it; 0 without any.

    Args:
        compositions: Compositions of all classes.
        fitness: Float array (K,).
        classes: C.
        population: P.

    Returns:
        Float array (C, P).
    """
    found = np.zeros((classes, population))
    for column, label in enumerate(compositions.classes):
        np.maximum.at(found[label], compositions.members[:, column], fitness)
    return found


def _join(
    candidates: Candidates,
    first: Compositions,
    second: Compositions,
    kept: tuple[int, int],
    accuracy_loss: float,
    keep_first: bool,
) -> Compositions:
    classes = first.classes + second.classes
    accuracy = candidates.accuracies(first, second)
    bound = candidates.whole_accuracy(classes) - accuracy_loss
    number = int(np.clip((accuracy >= bound).sum(), *kept))
    chosen = np.argsort(-accuracy.ravel(), kind="stable")[:number]
    if keep_first:
        is_first = np.logical_and.outer(~first.members.any(axis=1), ~second.members.any(axis=1))
        chosen = np.union1d(chosen, np.flatnonzero(is_first))
    i, j = np.unravel_index(chosen, accuracy.shape)
    wins = first.largest[i] >= second.largest[j]
    return Compositions(
        classes=classes,
        members=np.hstack([first.members[i], second.members[j]]),
        largest=np.where(wins, first.largest[i], second.largest[j]),
        is_hit=np.where(wins, first.is_hit[i], second.is_hit[j]),
        distance=candidates.distances(first, second)[i, j],
        accuracy=accuracy[i, j],
    )
