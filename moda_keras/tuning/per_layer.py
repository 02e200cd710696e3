"""A threshold for each hidden activation."""

import itertools
import math

import numpy as np

from moda_keras.modules.module_set import ModuleSet
from moda_keras.tuning.module_sizes import ModuleSizes
from moda_keras.tuning.reuse_loss import ROUNDING, ReuseLoss

# What a step takes of an activation's units from the modules; at least one threshold's worth.
SHARES = (1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32)


def tune_each_activation(
    best_of_all: ModuleSet, loss: ReuseLoss, sizes: ModuleSizes, limit: float
) -> ModuleSet:
    """The smallest modules found within a loss of accuracy, with a threshold for each activation.

    Thresholds are raised, by smaller and smaller steps, first where that saves most size for the
    accuracy it loses. The search goes once from the full model and once from the best modules that
    one threshold for all gives: what it finds is never larger than those.

    Args:
        best_of_all: Modules with one threshold, within the loss.
        loss: What measures the loss.
        sizes: What measures the size.
        limit: The largest loss to accept.

    Returns:
        A `ModuleSet` whose `threshold` is a dict.
    """
    starts = [best_of_all.with_threshold(0.0), best_of_all]
    found = [_Descent(start, loss, sizes, limit).run() for start in starts]
    return min(found, key=sizes.mean)


class _Descent:
    """Raises the thresholds of module sets as long as they stay within the loss."""

    def __init__(self, start: ModuleSet, loss: ReuseLoss, sizes: ModuleSizes, limit: float):
        self.loss = loss
        self.sizes = sizes
        self.limit = limit
        present = start.classes_with_modules()
        # Per activation how often each unit of each class is active, ascending.
        self.frequencies = {
            name: np.sort(table[present], axis=None) for name, table in start.frequency.items()
        }
        thresholds = {name: self._next_frequency(name, start.threshold) for name in start.units}
        self.current = start.with_threshold(thresholds)

    def run(self) -> ModuleSet:
        for share in SHARES:
            while smaller := self._smaller(share):
                self.current = min(smaller, key=self.sizes.mean)
        return self.current

    def _smaller(self, share: float) -> list[ModuleSet]:
        """Smaller modules within the loss, the more thresholds raised the later in the list."""
        raised = self._worthwhile(share)
        together = [
            self._with(dict(itertools.islice(raised.items(), count)))
            for count in range(1, len(raised) + 1)
        ]
        size = self.sizes.mean(self.current)
        losses = self.loss.within(together, self.limit)
        return [
            each
            for each, loss in zip(together, losses, strict=True)
            if np.isfinite(loss) and self.sizes.mean(each) < size
        ]

    def _worthwhile(self, share: float) -> dict[str, float]:
        """Raised thresholds within the loss if alone, by size saved per accuracy lost."""
        raised = {name: self._raised(name, share) for name in self.frequencies}
        raised = {name: threshold for name, threshold in raised.items() if threshold is not None}
        alone = [self._with({name: threshold}) for name, threshold in raised.items()]
        before, *after = self.loss.within([self.current, *alone], self.limit)
        lost = np.maximum(np.array(after) - before, ROUNDING)
        saved = self.sizes.mean(self.current) - np.array([self.sizes.mean(each) for each in alone])
        names = list(raised)
        order = [i for i in np.argsort(-saved / lost, kind="stable") if saved[i] > 0]
        return {names[i]: raised[names[i]] for i in order if np.isfinite(lost[i])}

    def _raised(self, name: str, share: float) -> float | None:
        """The activation's threshold that takes this share of its units from the modules."""
        frequencies = self.frequencies[name]
        kept = frequencies[np.searchsorted(frequencies, self.current.threshold[name]) :]
        if not len(kept):
            return None
        next_one = np.searchsorted(kept, kept[0], side="right")
        index = max(next_one, math.ceil(share * len(kept)))
        return float(kept[index]) if index < len(kept) else None

    def _next_frequency(self, name: str, threshold: float) -> float:
        """The lowest frequency from the threshold on: it gives the same modules."""
        frequencies = self.frequencies[name]
        index = np.searchsorted(frequencies, threshold)
        return float(frequencies[index]) if index < len(frequencies) else threshold

    def _with(self, raised: dict[str, float]) -> ModuleSet:
        return self.current.with_threshold({**self.current.threshold, **raised})
