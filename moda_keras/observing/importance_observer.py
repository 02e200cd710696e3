"""Measures, in one pass over the data, how much each class depends on each unit."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from moda_keras.graph import Graph, HiddenActivation
from moda_keras.observing.activation_counts import ActivationCounts
from moda_keras.observing.activation_observer import ActivationObserver
from moda_keras.observing.criteria import Criterion
from moda_keras.observing.gated_probe import GatedProbe
from moda_keras.ops import observation_of, sum_by_class, unchecked_class_ids
from moda_keras.ops.backends import backend


class ImportanceObserver(ActivationObserver):
    """Counts active samples and sums up a criterion, in Keras's own evaluation loop.

    One forward pass serves both, and one backward pass the gradients of all samples: the loss of a
    batch is a sum over samples, so that its gradient by a gate of one sample is that of the
    sample's loss. Samples without labels are of the class that the model predicts.

    Args:
        traced: The graph of the model.
        criterion: What to sum up.
        classes: C, the number of classes.
        epsilons: As of `ActivationCounts`.
    """

    probe_class = GatedProbe

    def __init__(
        self, traced: Graph, criterion: Criterion, classes: int, epsilons: Mapping[str, float]
    ):
        super().__init__(
            traced, lambda hidden: ClassImportance(hidden, criterion, classes, epsilons)
        )
        self.criterion = criterion
        self.classes = classes

    def call(self, inputs):
        return ops.zeros(())  # `compute_loss` runs the model, because that needs the labels

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=False):
        labels, activations, gradients = self._run(x, y)
        self.metric.update_state(labels, (activations, gradients), sample_weight)
        return ops.zeros(())

    def update_metric(self, y, activations, sample_weight):
        return

    def _run(self, x: Any, y: Any) -> tuple[Any, list, list]:
        """Labels, hidden activations, and for each of these the gradients (B, D) or None."""
        if not self.criterion.needs_gradients:
            logits, activations = self.probe.logits(x)
            return self._labels(y, logits), activations, [None] * len(activations)

        def loss(gates):
            logits, activations = self.probe.logits(x, gates)
            labels = self._labels(y, logits)
            ids = unchecked_class_ids(labels, self.classes)
            return ops.sum(self.probe.losses(logits, ids)), (labels, activations)

        samples = ops.shape(keras.tree.flatten(x)[0])[0]
        gates = [ops.ones((samples, each.units), "float32") for each in self.hidden]
        gradients, (labels, activations) = backend.gradients(loss, gates)
        return labels, activations, gradients

    def _labels(self, y: Any, logits: Any) -> Any:
        return ops.argmax(logits, axis=-1) if y is None else y


class ClassImportance(keras.metrics.Metric):
    """Activation counts, and the sums of a criterion by class.

    Args:
        hidden: The hidden activations.
        criterion: What to sum up.
        classes: C, the number of classes.
        epsilons: As of `ActivationCounts`.
    """

    def __init__(
        self,
        hidden: Sequence[HiddenActivation],
        criterion: Criterion,
        classes: int,
        epsilons: Mapping[str, float],
    ):
        super().__init__(name="samples", dtype="float32")
        self.hidden = hidden
        self.criterion = criterion
        self.classes = classes
        self.counts = ActivationCounts(hidden, classes, epsilons)
        self.sums = [
            [self.add_variable((classes, h.units), "zeros") for _ in range(criterion.sums)]
            for h in hidden
        ]

    def update_state(self, y_true, y_pred, sample_weight=None):
        activations, gradients = y_pred
        self.counts.update_state(y_true, activations, sample_weight)
        ids = unchecked_class_ids(y_true, self.classes, sample_weight)
        for hidden, values, gradient, variables in zip(
            self.hidden, activations, gradients, self.sums, strict=True
        ):
            observation = observation_of(values, hidden.channel_axis, hidden.non_negative)
            found = self.criterion.observe(observation, gradient)
            _check_observed(self.criterion, found, hidden)
            for variable, rows in zip(variables, found, strict=True):
                rows = ops.cast(rows, "float32")
                variable.assign(variable + sum_by_class(rows, ids, self.classes))

    def result(self):
        return self.counts.result()

    def tables(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """As `ActivationCounts.tables`."""
        return self.counts.tables()

    def importance(self, outgoing: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """How much each class depends on each unit.

        Args:
            outgoing: Dict from activation name to the norms (D,) that `Criterion` takes.

        Returns:
            Dict from activation name to a float64 array (C, D); 0 for a class without samples.

        Raises:
            ValueError: If the criterion gives anything else than finite numbers >= 0.
        """
        _, samples = self.tables()
        found = {}
        for hidden, variables in zip(self.hidden, self.sums, strict=True):
            sums = [ops.convert_to_numpy(each).astype("float64") for each in variables]
            values = self.criterion.importance(sums, np.maximum(samples, 1), outgoing[hidden.name])
            found[hidden.name] = _checked(values, hidden, self.criterion, self.classes)
            found[hidden.name][samples == 0] = 0
        return found


_WITHOUT_GRADIENTS = (
    ". A gradient may not be finite, as those of a square root or of a norm at zero: "
    'criterion="variance" needs none'
)


def _checked(
    values: Any, hidden: HiddenActivation, criterion: Criterion, classes: int
) -> np.ndarray:
    values = np.array(values, "float64")
    shape = (classes, hidden.units)
    if values.shape != shape or not np.isfinite(values).all() or (values < 0).any():
        wrong = values[~(np.isfinite(values) & (values >= 0))]
        raise ValueError(
            f"Expected from the criterion {criterion.name!r} finite numbers >= 0 of shape {shape} "
            f"for the activation {hidden.name!r}. Received: shape {values.shape} with "
            f"{wrong.size} other numbers{f', the first {wrong[0]}' if wrong.size else ''}"
            f"{_WITHOUT_GRADIENTS if criterion.needs_gradients else ''}"
        )
    return values


def _check_observed(criterion: Criterion, found: Any, hidden: HiddenActivation) -> None:
    is_list = isinstance(found, (list, tuple))
    shapes = [tuple(getattr(each, "shape", ())) for each in found] if is_list else []
    fits = len(shapes) == criterion.sums
    if not fits or any(len(shape) != 2 or shape[1] != hidden.units for shape in shapes):
        received = f"{type(found).__name__} of shapes {shapes}" if is_list else type(found).__name__
        raise ValueError(
            f"Expected `observe` of the criterion {criterion.name!r} to return a list of "
            f"{criterion.sums} tensors of shape (batch, {hidden.units}) for {hidden.name!r}. "
            f"Received: {received}"
        )
