"""The best modules of a size: units chosen by importance until a budget is spent."""

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from numbers import Real
from typing import Any

import keras
import numpy as np

from moda_keras.evaluation.accuracy import full_accuracy, reuse_accuracy
from moda_keras.evaluation.flops import planned_flops
from moda_keras.evaluation.gather_samples import gather_samples
from moda_keras.evaluation.latency import measure_latency
from moda_keras.methods.moda.decompose import decompose
from moda_keras.modules.checks import check_modules
from moda_keras.modules.module_set import ModuleSet
from moda_keras.observing.labelled_arrays import check_batch_size
from moda_keras.progress import ProgressBar
from moda_keras.reuse.compose import compose
from moda_keras.reuse.masked_model import masked_model
from moda_keras.reuse.repair import calibration_arrays
from moda_keras.slicing import Plan, Slicer, unit_groups
from moda_keras.tuning.reuse_loss import ROUNDING, ReuseLoss
from moda_keras.tuning.unit_choice import UnitChoice, group_costs

# The search for the smallest model within a loss of accuracy ends at this share of all groups, or
# of the model's size.
ACCURACY_STEP = 0.01
# By what share of its size a model shrinks before importance is measured again, at most.
STEP = 0.65


class UnmetBudgetError(ValueError):
    """A budget that is less than the smallest model needs.

    Args:
        received: The budget as the user gave it, such as "parameters=0.01".
        least: What the smallest model needs.
        classes: The names of the classes of the model.
    """

    def __init__(self, received: str, least: float, classes: Sequence[str]):
        super().__init__(received, least, classes)
        self.received, self.least, self.classes = received, least, classes

    def __str__(self) -> str:
        return (
            f"Expected a budget that can be met. Received: {self.received}, where the smallest "
            f"model of the classes {self.classes} needs {self.least:.4g}"
        )


def within(
    modules: ModuleSet,
    *,
    parameters: float | None = None,
    flops: float | None = None,
    latency_ms: float | None = None,
    max_accuracy_loss: float | None = None,
    classes: Iterable[int | str] | None = None,
    validation_data: Any = None,
    calibration_data: Any = None,
    batch_size: int = 1,
    verbose: str | int = "auto",
) -> ModuleSet:
    """Finds the best modules within one budget, by the importance of their units.

    Units that share their fate, such as the channels of a residual stream, are chosen together. One
    order over all such groups says which stay, as many as the budget allows: by importance over the
    square root of the cost. Importance is on a common scale: of each activation, its L2 norm over
    the units is 1. `compose` makes the model, with no retraining.

    Args:
        modules: Modules with importance, from `decompose(..., criterion="importance")`.
        parameters: Float in (0, 1], parameters over those of the original.
        flops: Float in (0, 1], multiply-accumulates over those of the original.
        latency_ms: Positive float, milliseconds of a prediction on this machine, the median. Groups
            are ordered by their multiply-accumulates; the time is measured on composed models.
        max_accuracy_loss: Float in [0, 1). Finds the smallest modules that lose no more accuracy
            than this against the full model, choosing among the same classes: without `classes` on
            the mean of `sample_subtasks`.
        classes: Class indices or names of a sub-task. Its units are chosen as a whole, by the sum
            of its classes' importance: k classes get the best model of the size, not the union of k
            modules. Other classes cannot be composed then. By default, each class's module is
            within the budget on its own, as `compose(modules, [c])` is.
        validation_data: For `max_accuracy_loss`: `(x, y)`, or a dataset.
        calibration_data: With `classes`: samples of them without labels, as `compose` takes them.
            For `parameters` and `flops`, units are then chosen in steps: after each, the model is
            repaired and importance is measured again, which takes longer and chooses better; one
            class is chosen at once, for the loss of one output is constant. For
            `max_accuracy_loss`, the models that are measured are repaired. Pass the data to
            `compose` too.
        batch_size: Positive int, the samples in a batch whose latency is measured.
        verbose: 0 is silent; 1 and "auto" show a progress bar once choosing in steps takes two
            seconds.

    Returns:
        A new `ModuleSet` with `threshold` None; with `classes`, its `subtask` names them. Every
        activation keeps at least `max(1, floor(0.005 D))` of its D units.

    Raises:
        ValueError: If the modules have no importance; if not exactly one budget is given, or an
            impossible one; if a class is unknown; if the budget is less than the smallest model
            needs; or if data is missing or given in vain.

    Examples:
        >>> import keras
        >>> import numpy as np
        >>> import moda_keras as mk
        >>> model = keras.Sequential([
        ...     keras.Input((4,)),
        ...     keras.layers.Dense(8, activation="relu", name="features"),
        ...     keras.layers.Dense(3),
        ... ])
        >>> x, y = np.random.default_rng(0).normal(size=(30, 4)), np.arange(30) % 3
        >>> modules = mk.decompose(model, x, y, criterion="importance", verbose=0)
        >>> small = modules.within(parameters=0.5, classes=[2, 0])
        >>> small.subtask, int(small.union([0])["features"].sum())
        ((2, 0), 4)
    """
    check_modules(modules)
    _require_importance(modules)
    modules = modules.with_units(modules.units)  # of all classes, whatever it was chosen for
    chosen = None if classes is None else modules.resolve_classes(classes).tolist()
    budget = _one_budget(
        parameters=parameters,
        flops=flops,
        latency_ms=latency_ms,
        max_accuracy_loss=max_accuracy_loss,
    )
    _check_data(budget, chosen, validation_data, calibration_data)
    check_batch_size(batch_size, is_optional=False)
    search = _Search(modules, chosen, by_flops=budget[0] in ("flops", "latency_ms"))
    if budget[0] != "max_accuracy_loss":
        measure = _MEASURES[budget[0]](modules.slicer, batch_size)
        if calibration_data is None or len(chosen) < 2:  # one class's loss is constant
            return search.within(*budget, measure)
        return search.within_by_steps(*budget, measure, calibration_data, verbose)
    x, y = gather_samples(modules, *_as_pair(validation_data))
    if chosen is None:
        return search.each_within_loss(budget[1], x, y)
    return search.within_loss(budget[1], x, y, calibration_data)


class _Search:
    """Chooses units for a sub-task, or for each class on its own.

    Args:
        modules: Modules with importance.
        classes: Class indices of the sub-task, or None.
        by_flops: Whether a group's cost is counted in multiply-accumulates, not in parameters.
    """

    def __init__(self, modules: ModuleSet, classes: Sequence[int] | None, *, by_flops: bool):
        self.modules = modules
        self.classes = classes
        each = [[index] for index in modules.classes_with_modules().tolist()]
        tasks = each if classes is None else [classes]
        groups = unit_groups(modules.slicer)
        cost = planned_flops if by_flops else _trainable_size
        costs = group_costs(modules.slicer, groups, np.array(tasks[0]), cost)
        self.groups, self.costs = groups, costs
        self.choices = [self._choice(task, _of_classes(modules, task)) for task in tasks]

    def _choice(self, task: Sequence[int], importance: dict[str, np.ndarray]) -> UnitChoice:
        return UnitChoice(self.modules.slicer, importance, self.groups, self.costs, task)

    def within(self, name: str, limit: float, measure: Callable[[Plan], float]) -> ModuleSet:
        """The largest choices of which `measure` says no more than `limit`."""
        for choice in self.choices:
            least = measure(choice.plan(choice.smallest))
            if least > limit:
                names = [self.modules.class_names[index] for index in choice.classes]
                raise UnmetBudgetError(f"{name}={limit:g}", least, names)
        return self.result(
            [choice.largest_within(lambda plan: measure(plan) <= limit) for choice in self.choices]
        )

    def within_by_steps(
        self,
        name: str,
        limit: float,
        measure: Callable[[Plan], float],
        calibration_data: Any,
        verbose: str | int,
    ) -> ModuleSet:
        """As `within`, for a sub-task; importance is measured again on smaller and smaller models.

        Every step repairs the model of the units chosen so far, at full size, and asks it which of
        these units matter now.
        """
        found = self.within(name, limit, measure)  # refuses a budget that cannot be met
        data = calibration_arrays(calibration_data)
        steps = max(1, math.ceil(math.log(limit) / math.log(STEP)))
        bar = ProgressBar(steps, verbose)
        for done, size in enumerate(limit ** (np.arange(1, steps) / steps), start=1):
            found = self.within(name, float(size), measure)
            model = masked_model(found, self.classes, calibration_data=data)
            importance = _remaining_importance(model, data, self.modules)
            self.choices = [self._choice(self.classes, importance)]
            bar.update(done)
        return self.within(name, limit, measure) if steps > 1 else found

    def within_loss(self, limit: float, x: Any, y: np.ndarray, calibration_data: Any) -> ModuleSet:
        """The smallest choice for the sub-task that loses no more accuracy than `limit`."""
        (choice,) = self.choices
        full = full_accuracy(self.modules.model, self.classes, x, y)
        options = {} if calibration_data is None else {"calibration_data": calibration_data}

        def is_within(number: int) -> bool:
            found = self.result([number])
            composed = compose(found, self.classes, **options, verbose=0)
            accuracy = reuse_accuracy(found, self.classes, x, y, composed=composed)
            return full - accuracy <= limit + ROUNDING

        low, high = choice.smallest - 1, choice.largest
        while high - low > max(1, ACCURACY_STEP * choice.largest):
            middle = (low + high) // 2
            low, high = (low, middle) if is_within(middle) else (middle, high)
        return self.result([high])

    def each_within_loss(self, limit: float, x: Any, y: np.ndarray) -> ModuleSet:
        """The smallest modules of one size that lose no more accuracy than `limit` on the mean."""
        loss = ReuseLoss(self.modules, x, y)
        low, high, best = 0.0, 1.0, self.result([choice.largest for choice in self.choices])
        while high - low > ACCURACY_STEP:
            middle = (low + high) / 2
            found = self._nearest(middle)
            if np.isfinite(loss.within([found], limit)).all():
                high, best = middle, found
            else:
                low = middle
        return best

    def result(self, numbers: Sequence[int]) -> ModuleSet:
        """The modules with the first groups of each choice, as many as `numbers` says."""
        units = {name: np.zeros_like(table) for name, table in self.modules.units.items()}
        for choice, number in zip(self.choices, numbers, strict=True):
            for name, mask in choice.units(number).items():
                units[name][choice.classes] = mask
        return self.modules.with_units(units, self.classes)

    def _nearest(self, size: float) -> ModuleSet:
        """Modules of a size, or the smallest where that is too little."""
        return self.result(
            [
                choice.largest_within(lambda plan: plan.relative_size <= size)
                for choice in self.choices
            ]
        )


def _of_classes(modules: ModuleSet, classes: Sequence[int]) -> dict[str, np.ndarray]:
    """The importance of units (D,) for the classes together, by activation name."""
    rows = np.array(classes)
    return {name: table[rows].sum(axis=0) for name, table in modules.importance.items()}


def _remaining_importance(
    model: keras.Model, data: Any, modules: ModuleSet
) -> dict[str, np.ndarray]:
    """The importance of units (D,) for a masked model's own predictions."""
    with warnings.catch_warnings():  # it may predict no sample to be of some class
        warnings.filterwarnings("ignore", message="The data has no sample of the classes")
        warnings.filterwarnings("ignore", message="The outputs of model .* are independent")
        found = decompose(model, data, criterion=modules.criterion, epsilon=0.0, verbose=0)
    tables = found.importance.values()
    return {n: table.sum(axis=0) for n, table in zip(modules.units, tables, strict=True)}


# ---------------------------------------------------------------------------------- what is spent


def _trainable_size(plan: Plan) -> int:
    return plan.trainable_size


def _relative_parameters(slicer: Slicer, batch_size: int) -> Callable[[Plan], float]:
    return lambda plan: plan.relative_size


def _relative_flops(slicer: Slicer, batch_size: int) -> Callable[[Plan], float]:
    whole = planned_flops(slicer.plan({}, np.arange(slicer.graph.outputs[0].channels)))
    return lambda plan: planned_flops(plan) / whole


def _latency(slicer: Slicer, batch_size: int) -> Callable[[Plan], float]:
    return lambda plan: measure_latency(slicer.build(plan), batch_size=batch_size)


_MEASURES = {
    "parameters": _relative_parameters,
    "flops": _relative_flops,
    "latency_ms": _latency,
}

# ------------------------------------------------------------------------------------- arguments


def _require_importance(modules: ModuleSet) -> None:
    if modules.importance is None:
        raise ValueError(
            "Expected modules with importance. Received: modules without. Measure it: "
            '`mk.decompose(model, x, y, criterion="importance")`'
        )


def _one_budget(**budgets: Any) -> tuple[str, float]:
    given = {name: value for name, value in budgets.items() if value is not None}
    if len(given) != 1:
        raise ValueError(f"Expected exactly one of {list(budgets)}. Received: {given or 'none'}")
    ((name, value),) = given.items()
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    expected, is_valid = {
        "parameters": ("in (0, 1], a share of the original's", lambda v: 0 < v <= 1),
        "flops": ("in (0, 1], a share of the original's", lambda v: 0 < v <= 1),
        "latency_ms": ("to be a positive number of milliseconds", lambda v: 0 < v < np.inf),
        "max_accuracy_loss": ("in [0, 1), a fraction: 0.01 is one point", lambda v: 0 <= v < 1),
    }[name]
    if not is_number or not is_valid(value):
        raise ValueError(f"Expected `{name}` {expected}. Received: {name}={value!r}")
    return name, float(value)


def _check_data(
    budget: tuple[str, float], classes: Sequence[int] | None, validation: Any, calibration: Any
) -> None:
    is_accuracy = budget[0] == "max_accuracy_loss"
    if is_accuracy != (validation is not None):
        raise ValueError(
            "Expected `validation_data=(x, y)` with `max_accuracy_loss`, and only with it. "
            f"Received: {budget[0]}={budget[1]} and validation_data="
            f"{'None' if validation is None else type(validation).__name__}"
        )
    if calibration is not None and (budget[0] == "latency_ms" or not classes):
        raise ValueError(
            "Expected `calibration_data` with `classes`, and with a budget other than "
            f"`latency_ms`. Received: {budget[0]}={budget[1]}, classes={classes}"
        )
    if is_accuracy and classes and len(classes) < 2:
        raise ValueError(
            "Expected at least two classes with `max_accuracy_loss`: a model of one class is "
            f"always right. Received: classes={classes}"
        )


def _as_pair(data: Any) -> tuple[Any, ...]:
    is_pair = isinstance(data, (tuple, list)) and len(data) == 2
    return tuple(data) if is_pair else (data,)
