"""Decomposes a trained `MwTModel` into modules."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from moda_keras.graph import to_functional
from moda_keras.methods.moda.decompose import decompose
from moda_keras.methods.mwt.bare_model import bare_model
from moda_keras.methods.mwt.masked_graph import MaskedGraph, read_masks
from moda_keras.methods.mwt.mwt_model import MwTModel
from moda_keras.modules.module_set import ModuleSet
from moda_keras.modules.selection import Threshold, check_threshold, frequencies
from moda_keras.observing.criteria import Criterion
from moda_keras.observing.labelled_arrays import is_arrays
from moda_keras.ops import unit_magnitudes
from moda_keras.slicing import Slicer

# How far the threshold goes down at a time where a class would have no kernel.
STEP = 0.05
FACTORS = ("mean", "one")


class MeanMask(Criterion):
    """The mean of the mask of a kernel over the samples of a class."""

    name = "mask"

    def observe(self, activation, gradients):
        return [unit_magnitudes(activation.values, axis=activation.axis, non_negative=True)]

    def importance(self, sums, samples, outgoing):
        return sums[0] / samples[:, np.newaxis]


def modularize(
    model: MwTModel,
    x: Any,
    y: Any = None,
    *,
    threshold: Threshold = 0.9,
    keep_generators: bool = False,
    factors: str = "mean",
    class_names: Sequence[str] | None = None,
    batch_size: int | None = None,
    sample_weight: Any = None,
    steps: int | None = None,
    verbose: str | int = "auto",
) -> ModuleSet:
    """Finds the modules of a trained `MwTModel`, in one pass over its training data.

    A kernel is in the module of a class if its mask is above 0 for at least a fraction `threshold`
    of the class's samples. Where a class would have no kernel of a convolution, the threshold is
    lowered there in steps of 0.05 until it has one. If no sample of a class has a mask above 0
    there, the class has no kernel of that convolution, and a warning says so.

    Args:
        model: The trained model. It is not changed.
        x: Training data: anything that `fit` takes.
        y: Labels, if `x` does not hold them: integers (N,), one-hot (N, C), or names of classes.
        threshold: Float in [0, 1], or a dict with one for each mask.
        keep_generators: Whether the modules keep the mask generators: the modules are then those of
            `model` itself, exact but larger. Without them, `modules.model` is a new CNN, whose
            marked activations have the names of the masks; those of the convolutions without mask,
            of which every module has all kernels, are marked too.
        factors: What takes the place of a mask where the generators are removed: "mean", for each
            kernel the mean of its mask over all samples where that is above 0, as a factor in the
            weights; or "one", the paper's: none.
        class_names: C names; "0", "1", ... by default.
        batch_size: Positive int, for arrays; 32 by default, as in Keras.
        sample_weight: Optional weights (N,), numbers >= 0. Samples of weight 0 are not counted.
        steps: Number of batches to draw; needed for an endless generator.
        verbose: "auto", 0, 1 or 2, as in `evaluate`.

    Returns:
        A `ModuleSet` with counts, and with the mean of the masks by class as `importance`. Its
        `with_threshold` uses the library's rule for classes with hardly any unit,
        `mwt.with_threshold` the one above. Where the two differ, `threshold` is None.

    Raises:
        ValueError: If the model is no `MwTModel`, `factors` is unknown, a threshold is not in
            [0, 1], a label is out of range, or the data has no labels.

    Examples:
        >>> import numpy as np
        >>> import moda_keras as mk
        >>> from moda_keras.methods import mwt
        >>> model = mwt.MwTModel.from_model(mk.zoo.small_cnn((8, 8, 1), classes=2))
        >>> x, y = np.ones((4, 8, 8, 1), "float32"), np.array([0, 1, 0, 1])
        >>> modules = mwt.modularize(model, x, y, verbose=0)
        >>> {name: table.shape for name, table in modules.units.items()}
        {'block1_conv1_mask': (2, 16), 'block2_conv1_mask': (2, 32), 'block3_conv1_mask': (2, 64)}
        >>> modules.compose([0, 1]).output_shape
        (None, 2)

    Source: MwT (ICSE 2024), section 3.3, with "at least" and the lowering of the authors' code.
    """
    if factors not in FACTORS:
        raise ValueError(
            f"Expected `factors` to be one of {FACTORS}. Received: factors={factors!r}"
        )
    masked = _require_masks(model)
    if y is None and is_arrays(x):
        raise ValueError("Expected labels in `y`. Received: y=None")
    counted = decompose(
        model,
        x,
        y,
        threshold=threshold,
        criterion=MeanMask(),
        class_names=class_names,
        batch_size=batch_size,
        sample_weight=sample_weight,
        steps=steps,
        verbose=verbose,
    )
    if not keep_generators:
        counted = _without_generators(masked, counted, factors)
    return with_threshold(counted, counted.threshold)


def with_threshold(modules: ModuleSet, threshold: Threshold) -> ModuleSet:
    """The modules of `modularize` at another threshold, with no second pass over the data.

    Args:
        modules: Modules with counts.
        threshold: Float in [0, 1], or a dict with one for each hidden activation.

    Returns:
        A new `ModuleSet`. Its `threshold` is None where the threshold was lowered for a class, and
        `ModuleSet.with_threshold` would fill the class up otherwise.

    Raises:
        ValueError: If the modules have no counts, or a threshold is not in [0, 1].

    Source: MwT (ICSE 2024), section 3.3 and the authors' code.
    """
    modules.require_counts("with_threshold")
    threshold = check_threshold(threshold, list(modules.activation_counts))
    has_samples = modules.sample_counts > 0
    units, empty = {}, []
    for name, counts in modules.activation_counts.items():
        own = threshold[name] if isinstance(threshold, Mapping) else threshold
        frequency = frequencies(counts, modules.sample_counts)
        units[name] = select_kernels(frequency, own) & has_samples[:, np.newaxis]
        lacking = np.flatnonzero(has_samples & ~units[name].any(axis=1))
        empty += [(name, modules.class_names[index]) for index in lacking]
    if empty:
        warnings.warn(
            f"No sample of a class has a mask above 0 at (mask, class) {empty}: these modules have "
            "no kernel there. A smaller `beta` of `MwTLoss` keeps more kernels.",
            stacklevel=2,
        )
    by_library = modules.with_threshold(threshold)
    is_same = all(np.array_equal(units[name], by_library.units[name]) for name in units)
    return by_library if is_same else by_library.with_units(units)


def select_kernels(frequency: np.ndarray, threshold: float) -> np.ndarray:
    """The kernels of one convolution that each class needs.

    Args:
        frequency: Float array (C, D), the fraction of a class's samples with a mask above 0.
        threshold: Float in [0, 1].

    Returns:
        Bool array (C, D): those with at least the threshold, lowered in steps of 0.05 for a class
        without any, and with a frequency above 0 as far as it was lowered.
    """
    units = frequency >= threshold
    lowered = 0
    while (lacking := ~units.any(axis=1) & frequency.any(axis=1)).any():
        lowered += 1
        # In whole steps: repeated subtraction would add up rounding errors.
        level = max(threshold - lowered * STEP, 0.0)
        units[lacking] = (frequency >= level)[lacking] & (frequency > 0)[lacking]
    return units


def _require_masks(model: Any) -> MaskedGraph:
    model = to_functional(model)
    slicer = Slicer(model)
    masked = read_masks(slicer.graph, slicer.on_logit_path)
    if masked is None:
        raise ValueError(
            "Expected a model with mask generators, from `MwTModel.from_model(cnn)`. Received: "
            f"model {model.name!r} with the hidden activations "
            f"{[each.name for each in slicer.hidden_activations]}"
        )
    return masked


def _without_generators(masked: MaskedGraph, counted: ModuleSet, factors: str) -> ModuleSet:
    """The modules of the CNN without generators, with the counts of the masks."""
    means = {name: _mean_of_active(counted, name) for name in counted.units}
    model = bare_model(masked, means if factors == "mean" else {})
    slicer = Slicer(model)
    samples = counted.sample_counts
    counts, importance = {}, {}
    for name, units in slicer.units.items():
        # Every sample needs the kernels that have no mask.
        shape = (len(samples), units)
        every = np.broadcast_to(samples[:, np.newaxis], shape)
        counts[name] = counted.activation_counts.get(name, every)
        importance[name] = counted.importance.get(name, (every > 0).astype(float))
    threshold = counted.threshold
    if isinstance(threshold, Mapping):
        threshold = {name: threshold.get(name, 0.0) for name in counts}
    return ModuleSet.from_counts(
        model,
        counts,
        samples,
        threshold=threshold,
        class_names=counted.class_names,
        importance=importance,
        criterion=counted.criterion,
        slicer=slicer,
    )


def _mean_of_active(modules: ModuleSet, name: str) -> np.ndarray:
    """The mean mask (D,) over all samples where it is above 0; 1 for a kernel without any."""
    total = modules.sample_counts @ modules.importance[name]
    active = modules.activation_counts[name].sum(axis=0)
    return np.where(active > 0, total / np.maximum(active, 1), 1.0)
