"""What models of some classes cost and how accurate they are, as functions of their size."""

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import keras

from moda_keras.evaluation.model_measurement import ModelMeasurement
from moda_keras.modules.module_set import ModuleSet
from moda_keras.reuse.compose import compose
from moda_keras.tuning.budget import UnmetBudgetError, within

# Of a curve without given sizes.
SIZES = (0.75, 0.5, 0.35, 0.25, 0.15, 0.1)
BUDGETS = ("parameters", "flops")


def size_curve(
    modules: ModuleSet,
    classes: Iterable[int | str],
    x: Any,
    y: Any = None,
    sizes: Sequence[float] | None = None,
    *,
    budget: str = "parameters",
    calibration_data: Any = None,
    batch_size: int | None = 1,
) -> list[dict[str, Any]]:
    """Measures the models of some classes at several sizes, against what everyone does.

    What everyone does is to take the outputs of the classes from the full model ("head only").

    Args:
        modules: Modules with importance, from `decompose(..., criterion="importance")`.
        classes: Class indices or names of the sub-task.
        x: Test inputs: an array of N samples, a list or dict of arrays, or with labels a dataset.
            Samples of other classes are ignored.
        y: Labels: integers (N,), one-hot (N, C) or class names (N,). Without labels, samples are of
            the class that the full model predicts, and only agreement with it is measured.
        sizes: Floats in (0, 1], the budgets of `modules.within`. By default 0.75, 0.5, 0.35, 0.25,
            0.15 and 0.1, without those that the smallest model exceeds.
        budget: "parameters" or "flops": what `sizes` are shares of.
        calibration_data: Samples of the classes to choose units in steps with, as in
            `modules.within`, and to repair models with, as in `compose`; none of them should be in
            `x`. Without them, only models without repair are measured.
        batch_size: Positive int, the samples in a batch whose time is measured; None to measure no
            time.

    Returns:
        A list of dicts, in the order of the sizes. Their `model` is "full" and "head only" first,
        and then for each size "slim" and, with `calibration_data`, "repaired"; `budget` is the size
        or None. The other keys are those of `mk.metrics.ModelMeasurement.measure`: `parameters`,
        `size`, `flops`, `flops_share`, `milliseconds`, `accuracy`, `agreement`. Models slim and
        repaired of a size differ in their weights alone, and have one time.

    Raises:
        ValueError: If the modules have no importance, a class is unknown, a size is not in (0, 1]
            or less than the smallest model needs, or `x` and `y` do not match.

    Examples:
        ```python
        rows = mk.tuning.size_curve(
            modules, ["cat", "dog"], x_test, y_test, sizes=(0.5, 0.25), calibration_data=x_some
        )
        for row in rows:
            print(row["model"], row["size"], row["accuracy"])
        ```
    """
    check_size_budget(budget)
    measurement = ModelMeasurement(modules, classes, x, y, batch_size=batch_size)
    return [
        *reference_rows(measurement),
        *sized_rows(
            measurement,
            SIZES if sizes is None else sizes,
            budget=budget,
            calibration_data=calibration_data,
            leave_out_unmet=sizes is None,
        ),
    ]


def check_size_budget(budget: str) -> None:
    """Raises a ValueError unless a budget is a share of the original."""
    if budget not in BUDGETS:
        raise ValueError(
            f"Expected `budget` to be one of {list(BUDGETS)}. Received: budget={budget!r}"
        )


def reference_rows(measurement: ModelMeasurement) -> list[dict[str, Any]]:
    """The rows of `size_curve` that do not depend on size."""
    return [
        {"model": "full", "budget": None, **measurement.full()},
        {"model": "head only", "budget": None, **measurement.head_only()},
    ]


def sized_rows(
    measurement: ModelMeasurement,
    sizes: Sequence[float],
    *,
    budget: str = "parameters",
    calibration_data: Any = None,
    leave_out_unmet: bool = False,
) -> list[dict[str, Any]]:
    """The rows of `size_curve` for each size.

    Args:
        measurement: Of modules with importance.
        sizes: Floats in (0, 1].
        budget: As in `size_curve`.
        calibration_data: As in `size_curve`.
        leave_out_unmet: Whether sizes that the smallest model exceeds are left out, not refused.

    Returns:
        List of dicts.
    """
    rows = []
    for size in sizes:
        try:
            found = within(
                measurement.modules,
                classes=measurement.classes,
                calibration_data=calibration_data,
                **{budget: size},
            )
        except UnmetBudgetError:
            if not leave_out_unmet:
                raise
            continue
        rows += measure_choice(measurement, found, size, calibration_data)[0]
    return rows


def measure_choice(
    measurement: ModelMeasurement, found: ModuleSet, budget: float, calibration_data: Any
) -> tuple[list[dict[str, Any]], keras.Model]:
    """Composes the models of a choice of units, and measures them.

    Args:
        measurement: Of the modules among whose units was chosen.
        found: The choice, from `within`.
        budget: What it was chosen by, for the rows.
        calibration_data: As in `size_curve`.

    Returns:
        The rows of the model without repair and, with `calibration_data`, of that with repair; and
        the last of these models.
    """
    with warnings.catch_warnings():  # the measurement has warned of one class
        warnings.filterwarnings("ignore", message="The output activation of model")
        return _measured_choice(measurement, found, budget, calibration_data)


def _measured_choice(
    measurement: ModelMeasurement, found: ModuleSet, budget: float, calibration_data: Any
) -> tuple[list[dict[str, Any]], keras.Model]:
    model = compose(found, measurement.classes)
    rows = [{"model": "slim", "budget": budget, **measurement.measure(model)}]
    if calibration_data is not None:
        model = compose(found, measurement.classes, calibration_data=calibration_data, verbose=0)
        # Weights do not change the time: one measurement serves both models.
        figures = measurement.measure(model, milliseconds=rows[0]["milliseconds"])
        rows.append({"model": "repaired", "budget": budget, **figures})
    return rows, model
