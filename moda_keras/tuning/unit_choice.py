"""Nested choices of units: one order over all groups of units, of which the first stay."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import numpy as np

from moda_keras.modules.selection import minimum_units
from moda_keras.slicing import Plan, Slicer, UnitGroups

# The power of the cost by which a gain is divided: 0 orders by gain alone, 1 by gain per cost.
# Accuracy of ResNet-20 (CIFAR-10) on five sub-tasks at 80, 60 and 40 % of the parameters: with 0
# 80, 64, 49 %; with 0.5 82, 68, 58 %; with 1 80, 68, 49 %. The full model has 89 %.
COST_EXPONENT = 0.5


class UnitChoice:
    """The choices of units for some classes, from the smallest to all units.

    Args:
        slicer: Of the model.
        importance: Dict from activation name to a float array (D,): how much the classes depend on
            each unit.
        groups: The groups of the model's units.
        costs: Float array (groups,), from `group_costs`.
        classes: Class indices.

    Attributes:
        smallest: The number of groups that stay at least.
        largest: The number of all groups.
    """

    def __init__(
        self,
        slicer: Slicer,
        importance: Mapping[str, np.ndarray],
        groups: UnitGroups,
        costs: np.ndarray,
        classes: Sequence[int],
    ):
        self.slicer = slicer
        self.groups = groups
        self.classes = np.array(classes)
        order = order_of_groups(group_gains(importance, groups), costs)
        is_required = required_groups(order, groups, self.classes)
        self.order = np.concatenate([order[is_required[order]], order[~is_required[order]]])
        self.smallest, self.largest = int(is_required.sum()), groups.number
        self.plan = lru_cache(maxsize=None)(self._plan)

    def units(self, number: int) -> dict[str, np.ndarray]:
        """The units of the first `number` groups: dict of bool arrays (D,)."""
        is_kept = np.zeros(self.groups.number, bool)
        is_kept[self.order[:number]] = True
        return self.groups.units(is_kept)

    def _plan(self, number: int) -> Plan:
        return self.slicer.plan(self.units(number), self.classes)

    def largest_within(self, fits: Callable[[Plan], bool]) -> int:
        """The largest number of groups whose plan fits; the smallest is taken to fit.

        Args:
            fits: Says it of a plan. It is not asked about plans larger than one that does not fit.
        """
        low, high = self.smallest, self.largest + 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(self.plan(middle)) else (low, middle)
        return low


def order_of_groups(
    gains: np.ndarray, costs: np.ndarray, exponent: float = COST_EXPONENT
) -> np.ndarray:
    """The groups in the order in which they are worth keeping.

    Args:
        gains: Float array (groups,).
        costs: Float array (groups,). A group that costs nothing comes first.
        exponent: A group's rank is by its gain over this power of its cost.

    Returns:
        Int array (groups,).
    """
    rates = gains / np.where(costs > 0, costs, 1.0) ** exponent
    return np.lexsort((-rates, costs > 0))


def group_gains(importance: Mapping[str, np.ndarray], groups: UnitGroups) -> np.ndarray:
    """How much the classes depend on each group: the sum over its units.

    Args:
        importance: Dict from activation name to a float array (D,).
        groups: The groups of the model's units.

    Returns:
        Float array (groups,).
    """
    gains = np.zeros(groups.number)
    for name, ids in groups.of_units.items():
        values = normalized(importance[name])
        gains += np.bincount(ids, values, minlength=groups.number)
    return gains


def normalized(importance: np.ndarray) -> np.ndarray:
    """Importance of the units of one activation (D,) on a scale that activations have in common.

    Early activations have fewer units, which carry more; without it, whole layers would go.
    """
    norm = np.linalg.norm(importance)
    return importance / norm if norm else importance


def group_costs(
    slicer: Slicer, groups: UnitGroups, classes: np.ndarray, cost: Callable[[Plan], float]
) -> np.ndarray:
    """What each group costs: the difference that it makes to the cost of the whole model.

    Groups of as many units in the same activations cost the same, so one plan serves them all.
    Where a group saves nothing alone, as in layers that only shrink by several channels at once, it
    is the share of what all of its kind save together.

    Args:
        slicer: Of the model.
        groups: The groups of its units.
        classes: Class indices, the outputs of the plans.
        cost: The cost of a plan.

    Returns:
        Float array (groups,).
    """

    def saved(is_removed: np.ndarray) -> float:
        return whole - cost(slicer.plan(groups.units(~is_removed), classes))

    whole = cost(slicer.plan({}, classes))
    _, kinds = np.unique(groups.members, axis=0, return_inverse=True)
    costs = np.zeros(groups.number)
    for kind in range(kinds.max() + 1):
        members = np.flatnonzero(kinds.reshape(-1) == kind)
        is_removed = np.zeros(groups.number, bool)
        is_removed[members[-1]] = True
        costs[members] = saved(is_removed)
        if costs[members[0]] <= 0 and len(members) > 1:
            is_removed[members[1:]] = True
            costs[members] = max(saved(is_removed), 0.0) / (len(members) - 1)
    return costs


def required_groups(order: np.ndarray, groups: UnitGroups, classes: np.ndarray) -> np.ndarray:
    """The groups that always stay.

    They are, of every activation, the first ones of as many units as a module has at least, and
    those that hold the classes' logits.

    Args:
        order: Int array (groups,), from `order_of_groups`.
        groups: The groups.
        classes: Class indices.

    Returns:
        Bool array (groups,).
    """
    is_required = np.zeros(groups.number, bool)
    logits = groups.of_outputs[classes]
    is_required[logits[logits >= 0]] = True
    for members in groups.members.T:
        before = np.cumsum(members[order]) - members[order]
        is_needed = (before < minimum_units(int(members.sum()))) & (members[order] > 0)
        is_required[order[is_needed]] = True
    return is_required
