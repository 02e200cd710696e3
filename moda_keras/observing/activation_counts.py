"""Counts the samples of each class that activate each unit."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from moda_keras.graph import HiddenActivation
from moda_keras.observing.activation_observer import require_finite
from moda_keras.ops import (
    activation_counts,
    class_memberships,
    membership_counts,
    sum_by_class,
    unchecked_class_ids,
)
from moda_keras.ops.labels import invalid_weights, is_weight


class ActivationCounts(keras.metrics.Metric):
    """Counts the samples of each class that activate each unit.

    Args:
        hidden: The hidden activations.
        classes: C, the number of classes.
        epsilons: Dict from activation name to the magnitude above which a unit is active; None if
            `set_epsilons` will tell it.

    Attributes:
        not_finite: Int variable (A,): for each activation the values that are NaN or infinite.
    """

    def __init__(
        self,
        hidden: Sequence[HiddenActivation],
        classes: int,
        epsilons: Mapping[str, float] | None,
    ):
        super().__init__(name="samples", dtype="float32")
        self.hidden = hidden
        self.axes = [activation.channel_axis for activation in hidden]
        self.classes = classes
        # A compiled step takes numbers for constants, and a variable for what may change.
        self.variable_epsilons = None
        if epsilons is None:
            self.variable_epsilons = self.add_variable(
                (len(hidden),), initializer="zeros", dtype="float32", name="epsilons"
            )
        self.epsilons = epsilons
        self.counts = [self._add(f"counts_{i}", (classes, h.units)) for i, h in enumerate(hidden)]
        self.samples = self._add("samples", (classes,))
        self.not_finite = self._add("not_finite", (len(hidden),))
        self.invalid_labels = self._add("invalid_labels", ())
        self.invalid_weights = self._add("invalid_weights", ())

    def _add(self, name: str, shape: tuple):
        return self.add_variable(shape, initializer="zeros", dtype="int32", name=name)

    def set_epsilons(self, epsilons: Mapping[str, float]) -> None:
        """Sets the magnitudes above which units are active, by activation name."""
        self.variable_epsilons.assign([epsilons[activation.name] for activation in self.hidden])

    def _epsilon_of_each(self) -> list:
        if self.variable_epsilons is None:
            return [self.epsilons[activation.name] for activation in self.hidden]
        return [self.variable_epsilons[index] for index in range(len(self.hidden))]

    def update_state(self, y_true, y_pred, sample_weight=None):
        if y_true is None:
            raise ValueError(
                "Expected labels, in `y` or as the second element of what `x` yields. Received: "
                "data without labels"
            )
        # Of a dataset that names the outputs, labels and weights come in dicts.
        y_true, sample_weight = _only("labels", y_true), _only("weights", sample_weight)
        if sample_weight is not None:
            is_invalid = ops.logical_not(is_weight(ops.cast(sample_weight, "float32")))
            _add_to(self.invalid_weights, _count(is_invalid))
        counts, not_finite = self.count_batch(y_true, y_pred, sample_weight)
        for variable, count in zip(self.counts, counts, strict=True):
            _add_to(variable, count)
        _add_to(self.not_finite, not_finite)

    def count_batch(self, y_true, y_pred, sample_weight) -> tuple[list, Any]:
        """Counts the samples of a batch and its invalid labels.

        Returns:
            What is to be added to the counts of each activation, and to `not_finite`.
        """
        out_of_range = unchecked_class_ids(y_true, self.classes) == self.classes
        ids = unchecked_class_ids(y_true, self.classes, sample_weight)
        _add_to(self.invalid_labels, _count(out_of_range))
        _add_to(self.samples, sum_by_class(ops.ones_like(ids)[:, None], ids, self.classes)[:, 0])
        return activation_counts(y_pred, ids, self.classes, self.axes, self._epsilon_of_each())

    def explain_invalid(self, count: int) -> str:
        """What is wrong with `count` labels, for an error message."""
        return (
            f"Expected labels from 0 to {self.classes - 1}. Received: data with {count} labels out "
            "of that range"
        )

    def reset_state(self):
        for variable in self.variables:
            if variable is not self.variable_epsilons:
                variable.assign(ops.zeros(variable.shape, dtype=variable.dtype))

    def result(self):
        return ops.cast(ops.sum(self.samples), "float32")

    def tables(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Activation counts by activation name, and sample counts; ValueError if data was bad."""
        invalid = int(ops.convert_to_numpy(self.invalid_labels))
        if invalid:
            raise ValueError(self.explain_invalid(invalid))
        if wrong := int(ops.convert_to_numpy(self.invalid_weights)):
            raise ValueError(invalid_weights(wrong))
        require_finite(self.hidden, self.not_finite)
        counts = {
            hidden.name: ops.convert_to_numpy(variable).astype("int64")
            for hidden, variable in zip(self.hidden, self.counts, strict=True)
        }
        return counts, ops.convert_to_numpy(self.samples).astype("int64")


class MultiLabelCounts(ActivationCounts):
    """Counts the samples of each class that activate each unit, from multi-hot labels.

    A sample counts in every class that it is in.
    """

    def count_batch(self, y_true, y_pred, sample_weight):
        memberships, valid = class_memberships(y_true, self.classes, sample_weight)
        _add_to(self.invalid_labels, _count(ops.logical_not(valid)))
        _add_to(self.samples, ops.sum(memberships, axis=0))
        return membership_counts(y_pred, memberships, self.axes, self._epsilon_of_each())

    def explain_invalid(self, count):
        return (
            "Expected multi-hot labels, rows of 0 and 1. Received: data with "
            f"{count} rows that hold something else"
        )


def _only(name: str, values: Any) -> Any:
    leaves = keras.tree.flatten(values)
    if len(leaves) != 1:
        raise ValueError(f"Expected {name} of one output. Received: {len(leaves)} arrays of {name}")
    return leaves[0]


def _add_to(variable, value) -> None:
    variable.assign(variable + value)


def _count(condition) -> Any:
    return ops.sum(ops.cast(condition, "int32"))
