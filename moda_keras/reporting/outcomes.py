"""Which classes a model prefers to the true class of each test sample."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Outcomes:
    """Test samples counted by their class and by the classes that a model prefers to it.

    A model that chooses among some of the classes is right on a sample if it prefers none of these.
    So the counts give the accuracy on any sub-task.

    Attributes:
        counts: Number of samples by pairs of a class index and a bit set of preferred classes.
    """

    counts: dict[tuple[int, int], int]

    @classmethod
    def from_table(cls, labels: np.ndarray, preferred: np.ndarray) -> "Outcomes":
        """Counts the samples of a table.

        Args:
            labels: Integers (N,).
            preferred: Bool array (N, C), false at the sample's own class.

        Returns:
            `Outcomes`.
        """
        bits = [sum(1 << int(c) for c in np.flatnonzero(row)) for row in preferred]
        return cls(dict(Counter(zip(labels.tolist(), bits, strict=True))))

    def accuracy(self, classes: Iterable[int]) -> float:
        """Accuracy on the samples of these classes, choosing among them; NaN without samples.

        Args:
            classes: Class indices.

        Returns:
            Float in [0, 1].
        """
        chosen = sum(1 << int(index) for index in set(classes))
        of_class = [(b, n) for (label, b), n in self.counts.items() if chosen >> label & 1]
        total = sum(n for _, n in of_class)
        return sum(n for b, n in of_class if not b & chosen) / total if total else float("nan")

    def accuracy_by_class(self, classes: int) -> np.ndarray:
        """Accuracy on each class, choosing among all classes.

        Args:
            classes: C, the number of classes.

        Returns:
            Float array (C,); NaN for a class without samples.
        """
        right, total = np.zeros(classes), np.zeros(classes)
        for (label, preferred), count in self.counts.items():
            total[label] += count
            right[label] += count * (not preferred)
        return right / np.where(total, total, np.nan)

    def accuracy_in_pairs(self, classes: Sequence[int], size: int) -> np.ndarray:
        """Accuracy on each class in pairs with another class, mean over the other classes.

        Args:
            classes: Class indices that form pairs.
            size: C, the number of classes.

        Returns:
            Float array (C,); NaN for a class without samples or pairs.
        """
        wins, total = np.zeros(size), np.zeros(size)
        for (label, preferred), count in self.counts.items():
            others = [index for index in classes if index != label]
            lost = sum(preferred >> int(index) & 1 for index in others)
            total[label] += count * len(others)
            wins[label] += count * (len(others) - lost)
        return wins / np.where(total, total, np.nan)

    def to_json(self) -> list[list]:
        """Rows of class, preferred classes as a hexadecimal bit set, and count."""
        return [[label, f"{bits:x}", count] for (label, bits), count in self.counts.items()]
