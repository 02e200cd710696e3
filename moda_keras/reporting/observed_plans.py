"""What plans of compositions keep of every weight, put side by side."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from moda_keras.evaluation.flops import flops_per_element
from moda_keras.modules.module_set import ModuleSet
from moda_keras.slicing.plan import Plan, PlannedStep


@dataclass(frozen=True, eq=False)
class ObservedWeight:
    """A weight of composed models, as plans show it.

    Attributes:
        parameters, flops: Trainable parameters and multiply-accumulates per element.
        axes: Per axis a bool array (plans, length): what is kept.
        only_if: Bool array (plans, channels): the weight is there if anything of a row is true; or
            None if it is always there.
        told: Bool array (plans,): in which plans `only_if` says what it says for no other reason.
    """

    parameters: int
    flops: int
    axes: list[np.ndarray]
    only_if: np.ndarray | None = None
    told: np.ndarray | None = None


class ObservedPlans:
    """Plans of one model, looked at weight by weight.

    Args:
        modules: Modules of the model.
    """

    def __init__(self, modules: ModuleSet):
        self.slicer = modules.slicer
        self.plans = 0
        self._factors: dict[int, tuple[int, int]] = {}
        self._kept: dict[int, list[list[np.ndarray]]] = defaultdict(list)
        self._added: dict[tuple, dict[int, tuple[np.ndarray, list[np.ndarray]]]] = defaultdict(dict)

    def add(self, units: dict[str, np.ndarray], outputs: np.ndarray) -> None:
        """Plans one more composition.

        Args:
            units: Dict from activation name to a bool array (units,): those that stay.
            outputs: Int array, the chosen classes.
        """
        plan = self.slicer.plan(units, outputs)
        self._factors = self._factors or _factors(plan)
        for weight in plan.kept_weights:
            masks = [
                _mask(indices, length)
                for indices, length in zip(weight.indices, weight.variable.shape, strict=True)
            ]
            self._kept[id(weight.variable)].append(masks)
        for planned in plan.steps:
            self._note_added(planned)
        self.plans += 1

    def weights(self) -> list[ObservedWeight]:
        """All weights of composed models, those that hold folded constants among them."""
        kept = {
            weight: [np.stack(masks) for masks in zip(*rows, strict=True)]
            for weight, rows in self._kept.items()
        }
        own = [ObservedWeight(*self._factors[weight], axes) for weight, axes in kept.items()]
        return own + [self._added_weight(key, rows, kept) for key, rows in self._added.items()]

    def _note_added(self, planned: PlannedStep) -> None:
        """Notes weights that the original does not have: biases that hold folded constants."""
        operation = planned.step.operation
        if not getattr(operation, "trainable", False):
            return
        present = {weight.name for weight in operation.weights}
        for name in planned.slice.weights.keys() - present:
            constants = planned.slice.inputs[0].dropped_const != 0
            indices = list(planned.slice.weights[name].axes.values())
            self._added[operation, name][self.plans] = constants, indices

    def _added_weight(self, key: tuple, rows: dict, kept: dict) -> ObservedWeight:
        constants = np.zeros((self.plans, len(next(iter(rows.values()))[0])), bool)
        for row, (constant, _) in rows.items():
            constants[row] = constant
        candidates = [axis for weight in key[0].weights for axis in kept.get(id(weight), [])]
        lengths = [[len(each) for each in indices] for _, indices in rows.values()]
        columns = zip(*lengths, strict=True)
        axes = [_axis_of_lengths(list(rows), each, candidates) for each in columns]
        # Where one channel is left, it may be a constant that is there because there must be one.
        told = np.all([axis.sum(axis=1) > 1 for axis in candidates if axis.shape[1] > 1], axis=0)
        return ObservedWeight(1, 0, axes, only_if=constants, told=told)


def _factors(plan: Plan) -> dict[int, tuple[int, int]]:
    try:
        flops = flops_per_element(planned.step for planned in plan.steps)
    except ValueError:  # the shape of the input is not fixed
        flops = {}
    return {
        id(weight.variable): (int(weight.trainable), flops.get(id(weight.variable), 0))
        for weight in plan.kept_weights
    }


def _axis_of_lengths(
    rows: list[int], lengths: tuple[int, ...], candidates: list[np.ndarray]
) -> np.ndarray:
    """The axis of the layer's own weights that is as long as this one in these plans."""
    for axis in candidates:
        if (axis[rows].sum(axis=1) == lengths).all():
            return axis
    return np.ones((len(candidates[0]), max(lengths)), bool)


def _mask(indices: np.ndarray, length: int) -> np.ndarray:
    mask = np.zeros(length, bool)
    mask[indices] = True
    return mask
