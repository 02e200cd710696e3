"""Which channels of each weight stay, as a condition on the chosen classes.

The slicer is asked about many sets of units, and the conditions are read off its plans: no layer's
rule need be known here, and rules that users register are served alike.
"""

from dataclasses import dataclass

import numpy as np

from moda_keras.modules.module_set import ModuleSet
from moda_keras.reporting.observed_plans import ObservedPlans, ObservedWeight
from moda_keras.reporting.subsets import random_subsets

# Random compositions that are looked at, beside that of every single class.
COMPOSITIONS = 48
# Random sets of units that are looked at, and the share of each that stays. A condition on m units
# is met by SHARE**m of them; an unrelated unit is there in all of those with a probability of
# SHARE ** (PROBES * SHARE**m), 2e-8 for m = 3.
PROBES = 160
SHARE = 0.6


@dataclass(frozen=True)
class Condition:
    """A condition on the chosen classes, which are a bit set.

    Attributes:
        meets: Bit sets of classes; the chosen ones must meet each.
        avoids: Bit sets of classes; the chosen ones must meet none.
    """

    meets: tuple[int, ...] = ()
    avoids: tuple[int, ...] = ()

    def holds(self, chosen: int) -> bool:
        """Whether it holds for a bit set of classes."""
        return all(chosen & s for s in self.meets) and not any(chosen & s for s in self.avoids)


def observe(modules: ModuleSet, seed: int = 0) -> "Conditions":
    """Plans compositions and random sets of units, to read conditions off.

    Args:
        modules: The modules.
        seed: Seed of what is planned.

    Returns:
        `Conditions`.
    """
    present, random = modules.classes_with_modules(), np.random.default_rng(seed)
    subsets = [(int(c),) for c in present] + random_subsets(present, COMPOSITIONS, seed)
    sets = [(modules.union(subset), np.array(subset)) for subset in subsets]
    sets += [_random_set(modules, random) for _ in range(PROBES)]
    plans = ObservedPlans(modules)
    for units, outputs in sets:
        plans.add(units, outputs)
    return Conditions(modules, plans.weights(), subsets, sets)


class Conditions:
    """Weights, and the conditions on which their channels stay.

    Args:
        modules: The modules.
        weights: What plans keep of each weight.
        subsets: The compositions among the plans; the first ones are those of single classes.
        sets: Units and outputs of all plans.

    A channel is taken to stay if a unit does, or if each of some units does, whichever is what all
    plans say; else if it stays in the module of any chosen class, as a channel that several layers
    read.
    """

    def __init__(
        self,
        modules: ModuleSet,
        weights: list[ObservedWeight],
        subsets: list[tuple[int, ...]],
        sets: list[tuple[dict[str, np.ndarray], np.ndarray]],
    ):
        self.weights = weights
        self.chosen = [sum(1 << c for c in subset) for subset in subsets]
        self.singles = len(modules.classes_with_modules())
        self._atoms, self._meaning = _atoms(modules, sets)
        self._by_column = {
            column.tobytes(): bits
            for column, bits in zip(np.packbits(self._atoms, axis=1), self._meaning, strict=True)
        }
        self._known: dict[bytes, Condition] = {}

    def of(self, kept: np.ndarray) -> list[Condition]:
        """The condition of every channel of an axis.

        Args:
            kept: Bool array (plans, channels): whether a plan keeps a channel.

        Returns:
            List of `Condition`.
        """
        # No tensor can be without channels: the last one may be there for no other reason.
        told = kept.sum(axis=1) > 1
        return self._of_columns(kept & told[:, np.newaxis], told)

    def of_constants(self, weight: ObservedWeight) -> list[Condition]:
        """The conditions of which one must hold for a weight that holds folded constants."""
        seen = weight.only_if & weight.told[:, np.newaxis]
        return self._of_columns(seen[:, seen.any(axis=0)], weight.told)

    def _of_columns(self, seen: np.ndarray, told: np.ndarray) -> list[Condition]:
        keys = [column.tobytes() + told.tobytes() for column in np.packbits(seen.T, axis=1)]
        fresh = {key: i for i, key in enumerate(keys) if key not in self._known}
        columns = seen.T[list(fresh.values())]
        self._known.update(zip(fresh, self._find(columns, told), strict=True))
        return [self._known[key] for key in keys]

    def _find(self, columns: np.ndarray, told: np.ndarray) -> list[Condition]:
        found: dict[int, Condition] = {}
        for index, column in enumerate(columns):
            single = self._by_column.get(np.packbits(column).tobytes())
            if column[told].all():
                found[index] = Condition()
            elif single is not None:
                found[index] = Condition((single,))
        rest = [index for index in range(len(columns)) if index not in found]
        if rest:
            found.update(zip(rest, self._find_products(columns[rest], told), strict=True))
        return [found[index] for index in range(len(columns))]

    def _find_products(self, columns: np.ndarray, told: np.ndarray) -> list[Condition]:
        """Conditions that more than one unit have a part in."""
        seen = columns.astype("float32")
        is_implied = seen @ (~self._atoms).T.astype("float32") == 0
        is_excluded = seen @ self._atoms.T.astype("float32") == 0
        found = []
        for column, implied, excluded in zip(columns, is_implied, is_excluded, strict=True):
            product = self._atoms[implied].all(axis=0) & ~self._atoms[excluded].any(axis=0)
            if column.any() and np.array_equal(product[told], column[told]):
                meets = {self._meaning[index] for index in np.flatnonzero(implied)}
                avoids = {self._meaning[index] for index in np.flatnonzero(excluded)}
                found.append(Condition(_smallest(meets), _union(avoids)))
            else:
                found.append(self._sum(column))
        return found

    def _sum(self, column: np.ndarray) -> Condition:
        """That a channel stays if it does in the module of any chosen class."""
        return Condition((sum(self.chosen[i] for i in np.flatnonzero(column[: self.singles])),))


def _random_set(
    modules: ModuleSet, random: np.random.Generator
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """A share of the units of every activation and of the outputs, at least one of each."""

    def draw(size: int) -> np.ndarray:
        mask = random.random(size) < SHARE
        mask[random.integers(size)] |= not mask.any()
        return mask

    units = {name: draw(table.shape[1]) for name, table in modules.units.items()}
    return units, np.flatnonzero(draw(modules.num_classes))


def _atoms(modules: ModuleSet, sets: list) -> tuple[np.ndarray, list[int]]:
    """Every unit and output: whether a plan has it, and the bit set of classes that do.

    Bool array (units, plans) and a list of ints.
    """
    present = modules.classes_with_modules()
    names = list(modules.units)
    rows = [np.concatenate([units[name] for name in names]) for units, _ in sets]
    outputs = np.zeros((len(sets), modules.num_classes), bool)
    for row, (_, chosen) in enumerate(sets):
        outputs[row, chosen] = True
    tables = [modules.units[name][present] for name in names]
    owners = np.concatenate([*tables, np.eye(modules.num_classes, dtype=bool)[present]], axis=1)
    meaning = [sum(1 << int(present[c]) for c in np.flatnonzero(column)) for column in owners.T]
    return np.concatenate([np.stack(rows), outputs], axis=1).T.copy(), meaning


def _smallest(sets: set[int]) -> tuple[int, ...]:
    """Those of which no other is a part: whoever meets these meets all."""
    return tuple(sorted(s for s in sets if not any(t != s and t & s == t for t in sets)))


def _union(sets: set[int]) -> tuple[int, ...]:
    """Their union, which is met if any is."""
    union = 0
    for each in sets:
        union |= each
    return (union,) if union else ()
