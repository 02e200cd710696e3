"""Composes small models of chosen classes."""

from collections.abc import Sequence
from typing import Any

import keras

from moda_keras.modules.checks import chosen_modules
from moda_keras.modules.kept_outputs import slicer_of
from moda_keras.modules.module import Module, check_output
from moda_keras.modules.module_set import ModuleSet
from moda_keras.reuse.other_output import add_other, check_other, plan_with_other
from moda_keras.reuse.repair import build_repaired, require_data
from moda_keras.slicing import Plan


def compose(
    modules: ModuleSet | Sequence[Module],
    classes: Sequence[int | str] | None = None,
    *,
    name: str | None = None,
    align: int = 1,
    logits: bool = False,
    calibration_data: Any = None,
    repair: str = "least_squares",
    other: bool = False,
    other_data: Any = None,
    keep_outputs: keras.Model | None = None,
    verbose: str | int = "auto",
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
        calibration_data: Samples of the chosen classes, without labels, to repair the model with:
            the weights that stay are refitted by least squares, layer by layer, so that every layer
            gives what the original's gives. Some hundred samples serve well. An array of N samples,
            a list or dict of arrays, or a dataset. See `docs/trained-models.md`.
        repair: How to repair: "least_squares", or "moments", which only matches mean and variance
            of what goes into batch normalizations: less accurate, and fast.
        other: Whether to add a last output for "none of these classes". Its logit is the
            log-sum-exp of the dropped classes' logits, which the kept units give: behind a softmax,
            its probability is the sum of theirs.
        other_data: Samples of chosen and dropped classes, without labels, as `predict` takes them;
            a few hundred. The logit of "other" is then scaled and shifted so that its probability
            comes closest to what the full model gives the dropped classes. Helps where modules are
            small.
        keep_outputs: The whole model of several outputs, of which the modules' model is one: the
            composed model then has all of them, by the same units. See `docs/several-outputs.md`.
        verbose: 0 is silent; 1 and "auto" show a progress bar of the repair once it takes two
            seconds.

    Returns:
        A functional `keras.Model` with output `(batch, len(classes))`, one more with `other`. The
        original's output activation is kept over the chosen logits: a softmax sums to one over
        them. A softmax over one class is constant, which a warning says. With `keep_outputs`, the
        outputs are in the list or dict of the whole model; the others are as wide as there.

    Raises:
        ValueError: If `classes` is empty or has an unknown class, a duplicate, or a class without
            training samples, if `align` is not a positive integer, if logits are asked for and
            operations follow the original's softmax, or if `calibration_data` has fewer than two
            samples, another shape than the model's inputs, or NaN. With `other`, also if all
            classes are chosen, the model's outputs are neither logits nor a softmax or log-softmax
            of them, or the full model takes all of `other_data` for chosen or for dropped classes.
            With `keep_outputs`, also if that model has one output, or none, or several, that are
            the modules' model with the same layers and weights.

    Examples:
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
        >>> mk.compose(modules, [2, 0], other=True).output_shape
        (None, 3)
        >>> box = keras.layers.Dense(4)(model.layers[0].output)
        >>> whole = keras.Model(model.inputs, {"scores": model.outputs[0], "box": box})
        >>> small = mk.compose(modules, [2, 0], keep_outputs=whole)
        >>> {name: tensor.shape for name, tensor in small.output.items()}
        {'box': (None, 4), 'scores': (None, 2)}
    """
    modules, classes = chosen_modules(modules, classes)
    require_data(calibration_data, repair)
    check_other(other, other_data)
    chosen = modules.resolve_classes(classes)
    slicer = slicer_of(modules, keep_outputs)

    def planned(align: int) -> Plan:
        if other:
            return plan_with_other(modules, slicer, chosen, align=align)
        return slicer.plan(modules.union(chosen), chosen, align=align, logits=logits)

    plan = planned(align)
    check_output(modules.slicer, len(plan.outputs), logits=logits)
    if calibration_data is None:
        model = slicer.build(plan, name=name)
    else:
        exact = plan if align == 1 else planned(1)
        model, weights = build_repaired(
            slicer, exact, calibration_data, repair, name=name, verbose=verbose, warns=True
        )
        if exact is not plan:
            model = slicer.build(plan, name=name, weights=weights)
    if not other:
        return model
    return add_other(model, plan, slicer, len(chosen), logits=logits, data=other_data)
