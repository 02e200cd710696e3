"""Composes small models of chosen classes."""

from collections.abc import Sequence

import keras

from moda_keras.modules.checks import chosen_modules
from moda_keras.modules.module import Module, check_output
from moda_keras.modules.module_set import ModuleSet


def compose(
    modules: ModuleSet | Sequence[Module],
    classes: Sequence[int | str] | None = None,
    *,
    name: str | None = None,
    align: int = 1,
    logits: bool = False,
) -> keras.Model:
    """Builds the slim model of the chosen classes from their modules, with no retraining.

    The model has the units that any of the chosen classes' modules has, and equals
    `masked_model(modules, classes)` to float tolerance (MODA, ICSE 2026, section 3.4).

    Args:
        modules: The modules of a decomposed model; or a list of modules of one model, such as
            `[modules[3], modules["cat"]]`, instead of `classes`.
        classes: Class indices or names, at least one. Output `j` is `classes[j]`.
        name: Name of the new model.
        align: Positive int. Numbers of channels are rounded up to a multiple of it, as far as the
            original has that many, for hardware that computes in blocks. The added units have zero
            outgoing weights: the model is as exact, but larger.
        logits: Whether to leave out the output activation.

    Returns:
        A functional `keras.Model` with output `(batch, len(classes))`. The original's output
        activation is kept over the chosen logits: a softmax sums to one over them. A softmax over
        one class is constant, which a warning says.

    Raises:
        ValueError: If `classes` is empty or has an unknown class, a duplicate, or a class without
            training samples, if `align` is not a positive integer, or if logits are asked for, and
            operations follow the original's softmax.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> import moda_keras as mk
        >>> model = keras.Sequential([
        ...     keras.Input((2,)),
        ...     keras.layers.Dense(6, activation="relu", name="features"),
        ...     keras.layers.Dense(3),
        ... ])
        >>> units = {"features": np.repeat(np.eye(3, dtype=bool), 2, axis=1)}
        >>> modules = mk.ModuleSet.from_units(model, units)
        >>> small = mk.compose(modules, [2, 0])
        >>> small.output_shape, small.count_params()  # 4 of 6 units
        ((None, 2), 22)
    """
    modules, classes = chosen_modules(modules, classes)
    plan = modules.plan(classes, align=align, logits=logits)
    check_output(modules.slicer, len(plan.outputs), logits=logits)
    return modules.slicer.build(plan, name=name)
