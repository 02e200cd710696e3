"""What any composition costs, as a few sums and products that a page can work out for itself.

A composed model keeps of every weight an outer product of indices, so its size is a sum over the
weights of products of numbers of kept channels. A channel stays if the chosen classes meet one set
of classes (a unit that these classes have), or several such sets (a depthwise channel, whose own
unit and the unit before it must both be there). Channels of the same sets are counted, not listed.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from moda_keras.evaluation.flops import planned_flops
from moda_keras.modules.module_set import ModuleSet
from moda_keras.reporting.channel_conditions import Condition, observe
from moda_keras.reporting.subsets import all_subsets, random_subsets
from moda_keras.slicing.plan import Plan

# Plans that are compared with the cost model, none of which it was made from.
CHECKED_SUBSETS = 48
# What cannot be computed is tabled for up to this many classes (1,023 subsets), unless it takes
# planning more steps than this: DenseNet121 has 430, and its plans take minutes.
TABLED_CLASSES = 10
TABLED_STEPS = 250_000


@dataclass(frozen=True)
class Group:
    """Channels that stay or go together.

    Attributes:
        count: How many they are.
        condition: When they stay.
    """

    count: int
    condition: Condition


@dataclass(frozen=True)
class Term:
    """Elements that a composed model has: a product of numbers of kept channels.

    Attributes:
        parameters: Trainable parameters per product.
        flops: Multiply-accumulates per product.
        axes: Indices of the axes of which the numbers are multiplied.
        only_if: Index of an axis; the term counts only if anything of that stays. None: always.
    """

    parameters: int
    flops: int
    axes: tuple[int, ...]
    only_if: int | None = None


@dataclass(frozen=True)
class CostModel:
    """Parameters and multiply-accumulates of any composition of some modules.

    Attributes:
        classes: Number of classes of the model.
        parameters, flops: Of the original. `flops` is 0 if the input shape is not fixed.
        axes: Groups of channels per axis. At least one channel of an axis stays, for no tensor can
            be without.
        terms: What is added up.
        checked: How many compositions were compared with plans of the slicer.
        worst_error: Largest relative error of them; 0.0 if the model is exact.
        table: For a model that is not exact, parameters and multiply-accumulates by the bit set of
            classes; empty if there are too many classes.
    """

    classes: int
    parameters: int
    flops: int
    axes: tuple[tuple[Group, ...], ...]
    terms: tuple[Term, ...]
    checked: int = 0
    worst_error: float = 0.0
    table: tuple[tuple[int, int], ...] = ()

    @property
    def is_exact(self) -> bool:
        """Whether no composition that was looked at differs, or all are tabled."""
        return self.worst_error == 0 or bool(self.table)

    def evaluate(self, classes: Iterable[int]) -> tuple[int, int]:
        """Trainable parameters and multiply-accumulates of the model composed of these classes.

        Args:
            classes: Class indices.

        Returns:
            Two ints.
        """
        chosen = sum(1 << int(index) for index in set(classes))
        return self.table[chosen] if self.table else self._computed(chosen)

    def to_json(self) -> dict[str, Any]:
        """What the page's script needs, with bit sets as hexadecimal strings."""
        return {
            "parameters": self.parameters,
            "flops": self.flops,
            "axes": [[_group_to_json(group) for group in axis] for axis in self.axes],
            "terms": [
                [term.parameters, term.flops, list(term.axes), term.only_if] for term in self.terms
            ],
            "table": [list(row) for row in self.table],
            "exact": self.is_exact,
            "checked": self.checked,
            "worstError": 0.0 if self.table else self.worst_error,
        }

    def _computed(self, chosen: int) -> tuple[int, int]:
        kept = [
            sum(group.count for group in axis if group.condition.holds(chosen))
            for axis in self.axes
        ]
        parameters = flops = 0
        for term in self.terms:
            if term.only_if is not None and not kept[term.only_if]:
                continue
            product = int(np.prod([max(1, kept[axis]) for axis in term.axes], dtype=object))
            parameters += term.parameters * product
            flops += term.flops * product
        return parameters, flops


def cost_model(modules: ModuleSet, *, seed: int = 0) -> CostModel:
    """Finds out what compositions cost, and checks it.

    Args:
        modules: The modules.
        seed: Seed of the compositions that are looked at.

    Returns:
        A `CostModel`, checked on `CHECKED_SUBSETS` compositions that it was not made from.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> import moda_keras as mk
        >>> from moda_keras.reporting import cost_model
        >>> model = keras.Sequential([
        ...     keras.Input((2,)),
        ...     keras.layers.Dense(6, activation="relu", name="features"),
        ...     keras.layers.Dense(3),
        ... ])
        >>> units = {"features": np.repeat(np.eye(3, dtype=bool), 2, axis=1)}
        >>> cost_model(mk.ModuleSet.from_units(model, units)).evaluate([2, 0])
        (22, 16)
    """
    original = _measured(modules.slicer.plan({}, np.arange(modules.num_classes)))
    axes, terms = _axes_and_terms(modules, seed)
    model = CostModel(modules.num_classes, *original, axes=axes, terms=terms)
    subsets = random_subsets(modules.classes_with_modules(), CHECKED_SUBSETS, seed + 1)
    errors = [_error(model, modules, subset) for subset in subsets]
    model = replace(model, checked=len(subsets), worst_error=max(errors, default=0.0))
    if model.is_exact or not _can_be_tabled(modules):
        return model
    return replace(model, table=_table(modules))


def _axes_and_terms(
    modules: ModuleSet, seed: int
) -> tuple[tuple[tuple[Group, ...], ...], tuple[Term, ...]]:
    conditions = observe(modules, seed)
    axes: dict[tuple[Group, ...], int] = {}
    totals: dict[tuple, np.ndarray] = {}
    for weight in conditions.weights:
        factors, own = np.array([weight.parameters, weight.flops], object), []
        for kept in weight.axes:
            if kept.all():
                factors = factors * kept.shape[1]
            else:
                own.append(axes.setdefault(_grouped(conditions.of(kept)), len(axes)))
        only_if = None
        if weight.only_if is not None:
            only_if = axes.setdefault(_grouped(conditions.of_constants(weight)), len(axes))
        key = (tuple(sorted(own)), only_if)
        totals[key] = totals.get(key, 0) + factors
    terms = [Term(int(p), int(f), *key) for key, (p, f) in totals.items() if p or f]
    return tuple(axes), tuple(terms)


def plan_of(modules: ModuleSet, classes: Sequence[int]) -> Plan:
    """The plan of a composition."""
    return modules.plan(classes)


def _measured(plan: Plan) -> tuple[int, int]:
    """Parameters and multiply-accumulates; of these 0 if the input shape is not fixed."""
    try:
        return plan.trainable_size, planned_flops(plan)
    except ValueError:
        return plan.trainable_size, 0


def _error(model: CostModel, modules: ModuleSet, subset: Sequence[int]) -> float:
    expected = _measured(plan_of(modules, subset))
    found = model.evaluate(subset)
    return max(abs(a - b) / max(b, 1) for a, b in zip(found, expected, strict=True))


def _can_be_tabled(modules: ModuleSet) -> bool:
    steps = len(modules.slicer.graph.steps) << len(modules.classes_with_modules())
    return modules.num_classes <= TABLED_CLASSES and steps <= TABLED_STEPS


def _table(modules: ModuleSet) -> tuple[tuple[int, int], ...]:
    rows = [(0, 0)] * (1 << modules.num_classes)
    for subset in all_subsets(modules.classes_with_modules()):
        rows[sum(1 << c for c in subset)] = _measured(plan_of(modules, subset))
    return tuple(rows)


def _grouped(conditions: Sequence[Condition]) -> tuple[Group, ...]:
    return tuple(Group(count, condition) for condition, count in Counter(conditions).items())


def _group_to_json(group: Group) -> list:
    condition = group.condition
    return [group.count, [f"{s:x}" for s in condition.meets], [f"{s:x}" for s in condition.avoids]]
