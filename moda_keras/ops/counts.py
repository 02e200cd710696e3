"""Counts the samples of each class that activate each unit, in public `keras.ops`."""

import itertools
from collections.abc import Sequence
from numbers import Real
from typing import Any

import keras
import numpy as np
from keras import ops

from moda_keras.ops.activation_vectors import masked_as_peaks, unit_peaks
from moda_keras.ops.backends import backend
from moda_keras.ops.labels import class_ids, standardize_ids
from moda_keras.ops.observation import Observation, observations
from moda_keras.ops.statistics import sum_by_class


def activation_frequency(
    activations: Any,
    labels: Any,
    num_classes: int,
    *,
    sample_weight: Any = None,
    axis: int = -1,
    epsilon: float = 0.0,
) -> Any:
    """Counts for every class how many of its samples activate each unit.

    A unit is active if its magnitude exceeds `epsilon`; a channel of a map, if any position does
    (MODA paper, eq. 9).

    Args:
        activations: Float tensor of shape (B, D), or a map (B, ..., D) whose units are on `axis`;
            a `MaskedActivation` of sequences with padding.
        labels: Integers of shape (B,) or (B, 1), or one-hot rows of shape (B, C).
        num_classes: C, the number of classes.
        sample_weight: Optional, shape (B,). Samples of weight 0 belong to no class.
        axis: The axis of the units.
        epsilon: Float >= 0. Positive for activations that are never exactly zero, such as GELU.

    Returns:
        int32 tensor of shape (C, D).

    Examples:
        >>> import moda_keras as mk
        >>> counts = mk.ops.activation_frequency([[0.0, 2.0], [1.0, 2.0]], [1, 1], num_classes=2)
        >>> [[int(n) for n in row] for row in counts]
        [[0, 0], [1, 2]]
    """
    ids = class_ids(labels, num_classes, sample_weight)
    (counts,), _ = activation_counts([activations], ids, num_classes, [axis], [epsilon])
    return counts


def activation_counts(
    activations: Sequence,
    ids: Any,
    num_classes: int,
    axes: Sequence[int],
    epsilons: Sequence[Any],
) -> tuple[list, Any]:
    """The counts of `activation_frequency` for several activations at once.

    Args:
        activations: A float tensors of shape (B, D), or maps (B, ..., D); a `MaskedActivation` for
            one with padding.
        ids: Integer tensor (B,), from `class_ids`. Any value that is not in 0 .. C - 1 puts its
            sample into no class.
        num_classes: C, the number of classes.
        axes: Axis of the units of each activation.
        epsilons: For each activation, the magnitude above which a unit is active: a float, or a
            scalar tensor, which may change between calls of a compiled function.

    Returns:
        A int32 tensors (C, D), and an int32 tensor (A,): in how many samples' units of each
        activation, of any class or none, there is a NaN or an infinity.

    Raises:
        ValueError: If shapes do not fit, there is not one id for each sample, or an epsilon is
            negative.
    """
    ids = standardize_ids(ids, num_classes)
    observed = masked_as_peaks(observations(activations, ids, axes))
    epsilons = _check_epsilons(epsilons, observed)
    native = backend.native_counts(observed, ids, num_classes, epsilons)
    if native is not None:
        return native
    # The reference: one sum by class serves all activations, which keeps the graph small.
    active, not_finite = _active_units(observed, epsilons)
    return _split(sum_by_class(active, ids, num_classes), observed), not_finite


def membership_counts(
    activations: Sequence, memberships: Any, axes: Sequence[int], epsilons: Sequence[Any]
) -> tuple[list, Any]:
    """As `activation_counts`, for samples that are each in any number of classes.

    Args:
        activations: A float tensors of shape (B, D), or maps (B, ..., D); a `MaskedActivation` for
            one with padding.
        memberships: int32 tensor (B, C) of 0 and 1, from `class_memberships`.
        axes: Axis of the units of each activation.
        epsilons: As of `activation_counts`.

    Returns:
        As `activation_counts`. A sample counts in every class that it is in.
    """
    observed = masked_as_peaks(observations(activations, memberships[:, 0], axes))
    active, not_finite = _active_units(observed, _check_epsilons(epsilons, observed))
    # In floats, for TensorFlow multiplies no integers on a GPU; exact up to 2^24 samples.
    rows, active = ops.cast(memberships, "float32"), ops.cast(active, "float32")
    counts = ops.cast(ops.matmul(ops.transpose(rows), active), "int32")
    return _split(counts, observed), not_finite


def _check_epsilons(epsilons: Sequence[Any], observed: Sequence[Observation]) -> list:
    numbers = [each for each in epsilons if not ops.is_tensor(each)]
    is_valid = len(epsilons) == len(observed) and all(isinstance(e, Real) for e in numbers)
    if not is_valid or not all(epsilon >= 0 for epsilon in numbers):
        raise ValueError(
            f"Expected `epsilons` to hold one number >= 0 for each of the {len(observed)} "
            f"activations. Received: epsilons={list(epsilons)}"
        )
    return [each if ops.is_tensor(each) else float(each) for each in epsilons]


def _active_units(observed: Sequence[Observation], epsilons: Sequence[Any]) -> tuple[Any, Any]:
    """Which units of all activations are active, int32 (B, sum of D), and how many not finite."""
    active, not_finite = [], []
    for observation, epsilon in zip(observed, epsilons, strict=True):
        peaks = unit_peaks(observation.values, axis=observation.axis)
        active.append(ops.cast(_exceed(peaks, epsilon), "int32"))
        not_finite.append(ops.sum(ops.cast(ops.logical_not(ops.isfinite(peaks)), "int32")))
    return ops.concatenate(active, axis=1), ops.stack(not_finite)


def _exceed(peaks: Any, epsilon: Any) -> Any:
    """Which peaks are above epsilon itself, not above what it is rounded to in their type."""
    if ops.is_tensor(epsilon):
        return peaks > epsilon
    dtype = keras.backend.result_type(peaks.dtype, "float32")
    limit = np.asarray(epsilon, dtype)
    limit = np.nextafter(limit, np.zeros_like(limit)) if float(limit) > epsilon else limit
    return ops.cast(peaks, dtype) > float(limit)


def _split(counts: Any, observed: Sequence[Observation]) -> list:
    """Counts (C, sum of D) as one table (C, D) for each activation."""
    ends = [0]
    for observation in observed:
        ends.append(ends[-1] + observation.units)
    return [counts[:, begin:end] for begin, end in itertools.pairwise(ends)]
