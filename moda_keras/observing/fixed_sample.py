"""Counts and class statistics of a fixed sample of data, recomputed while a model trains."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from moda_keras import graph
from moda_keras.graph import HiddenActivation
from moda_keras.observing.activation_counts import ActivationCounts
from moda_keras.observing.activation_observer import ActivationObserver, names_of_weights_not_finite
from moda_keras.observing.epsilons import (
    AUTO_QUANTILE,
    AUTO_SAMPLES,
    DEFAULT_EPSILON,
    MagnitudeCounts,
    check_automatic,
    resolve_epsilons,
)
from moda_keras.observing.labelled_arrays import (
    loadable,
    number_of_samples,
    sample_of_arrays,
    take_samples,
)
from moda_keras.ops import (
    ClassStatistics,
    observation_of,
    statistics_of_magnitudes,
    unchecked_class_ids,
    unit_magnitudes,
)
from moda_keras.ops.backends import backend


class SampleTotals(NamedTuple):
    """What a sample of data shows of the hidden activations of a model.

    Attributes:
        activation_counts: Dict from activation name to an int64 array (C, D): how many samples of
            each class activate each unit.
        sample_counts: Int64 array (C,), the samples of each class.
        statistics: Dict from activation name to `ClassStatistics` of float32 arrays.
        is_finite: Whether no activation has NaN or infinity.
    """

    activation_counts: dict[str, np.ndarray]
    sample_counts: np.ndarray
    statistics: dict[str, ClassStatistics]
    is_finite: bool


class FixedSample:
    """Runs a fixed sample through a model, as often as asked, in a step that is compiled once.

    It draws no random number and leaves the model as it was.

    Args:
        model: A built Functional or Sequential model with one output (batch, C).
        x: Array of N samples, or a list or dict of arrays.
        y: Labels, integers (N,).
        epsilon: As in `decompose`. With "auto", epsilons are chosen anew whenever the sample runs.
        batch_size: Samples that run at a time.

    Attributes:
        epsilons: Dict from activation name to the magnitude above which a unit is active.

    Raises:
        ValueError: If the model has no graph, several outputs or no hidden activation, or `epsilon`
            is impossible.
    """

    def __init__(
        self,
        model: keras.Model,
        x: Any,
        y: np.ndarray,
        *,
        epsilon: float | str | Mapping[str, float],
        batch_size: int,
    ):
        traced = graph.trace(model)
        model = traced.model
        graph.require_single_output(model)
        self.model = model
        classes = model.outputs[0].shape[-1]
        hidden = [hidden for hidden, _ in graph.hidden_activations_of(traced)]
        self._magnitudes: _MagnitudesOfSample | None = None
        if isinstance(epsilon, str):
            check_automatic(epsilon)
            epsilon = DEFAULT_EPSILON
            if not all(each.exact_zero for each in hidden):
                self._magnitudes = _MagnitudesOfSample(traced, x, batch_size)
        self.epsilons = resolve_epsilons(hidden, epsilon)
        fixed = self.epsilons if self._magnitudes is None else None
        self._observer = ActivationObserver(traced, lambda hidden: _Totals(hidden, classes, fixed))
        self._batches = list(_batches(x, y, min(batch_size, len(y))))

    def measure(self) -> SampleTotals:
        """Runs the sample through the model as it is now."""
        metric = self._observer.metric
        if self._magnitudes is not None:
            self.epsilons |= self._magnitudes.choose_epsilons()
            metric.counts.set_epsilons(self.epsilons)
        found = metric.named(_sum_of_tables(self._observer, self._batches))
        # TensorFlow's ReLU may turn NaN into 0, so that activations do not show it.
        is_finite = found.is_finite and not names_of_weights_not_finite(self.model)
        return found._replace(is_finite=is_finite)


class _MagnitudesOfSample:
    """Chooses epsilons as `decompose(epsilon="auto")` does, for a model that is being trained."""

    def __init__(self, traced: graph.Graph, x: Any, batch_size: int):
        x = sample_of_arrays(x, AUTO_SAMPLES)
        self._observer = ActivationObserver(traced, MagnitudeCounts)
        self._batches = [
            (loadable(take_samples(x, slice(start, start + batch_size))),)
            for start in range(0, number_of_samples(x), batch_size)
        ]

    def choose_epsilons(self) -> dict[str, float]:
        """Dict from activation name to epsilon; empty if activations are not finite."""
        _, not_finite, *_ = tables = _sum_of_tables(self._observer, self._batches)
        if not_finite.any():
            return {}
        return self._observer.metric.quantiles_of(tables, AUTO_QUANTILE)


class _Totals(keras.metrics.Metric):
    """Activation counts and class statistics."""

    def __init__(
        self,
        hidden: Sequence[HiddenActivation],
        classes: int,
        epsilons: Mapping[str, float] | None,
    ):
        super().__init__(name="samples", dtype="float32")
        self.hidden = hidden
        self.classes = classes
        self.counts = ActivationCounts(hidden, classes, epsilons)
        shapes = [((classes, each.units), (classes,), (classes,), (classes,)) for each in hidden]
        self.statistics = [
            [self.add_variable(shape, initializer="zeros") for shape in four] for four in shapes
        ]

    def reset_state(self):
        self.counts.reset_state()
        for four in self.statistics:
            for variable in four:
                variable.assign(ops.zeros(variable.shape, dtype=variable.dtype))

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.counts.update_state(y_true, y_pred, sample_weight)
        ids = unchecked_class_ids(y_true, self.classes, sample_weight)
        for hidden, values, variables in zip(self.hidden, y_pred, self.statistics, strict=True):
            observed = observation_of(values, hidden.channel_axis, hidden.non_negative)
            magnitudes = unit_magnitudes(
                observed.values,
                axis=observed.axis,
                non_negative=observed.non_negative,
                mask=observed.mask,
            )
            found = statistics_of_magnitudes(magnitudes, ids, self.classes)
            for variable, value in zip(variables, found, strict=True):
                variable.assign(variable + ops.cast(value, variable.dtype))

    def result(self):
        return self.counts.result()

    @property
    def tables(self) -> list:
        """The variables, in the order that `named` takes."""
        flat = [variable for four in self.statistics for variable in four]
        return [self.counts.samples, self.counts.not_finite, *self.counts.counts, *flat]

    def named(self, tables: Sequence[np.ndarray]) -> SampleTotals:
        """Sums of the tables of batches, by activation name."""
        samples, not_finite, *others = tables
        names = [each.name for each in self.hidden]
        counts, flat = others[: len(names)], others[len(names) :]
        return SampleTotals(
            {name: count.astype("int64") for name, count in zip(names, counts, strict=True)},
            samples.astype("int64"),
            {name: ClassStatistics(*flat[4 * i : 4 * i + 4]) for i, name in enumerate(names)},
            not not_finite.any(),
        )


def _sum_of_tables(observer: ActivationObserver, batches: Sequence[tuple]) -> list[np.ndarray]:
    """The metric's tables, added up over batches of inputs, labels and weights."""
    totals: list[np.ndarray] = []
    with backend.keep_variables(observer):
        # Not `evaluate`: PyTorch's data loader draws from the random numbers of the training.
        for batch in batches:
            observer.reset_metrics()  # before 3.15, Keras does not
            observer.test_on_batch(*batch)
            found = [ops.convert_to_numpy(each) for each in observer.metric.tables]
            totals = [a + b for a, b in zip(totals, found, strict=True)] if totals else found
    return totals


def _batches(x: Any, y: np.ndarray, size: int):
    """Batches of one size, so that a step compiles once; padding has weight 0."""
    for start in range(0, len(y), size):
        rows = np.arange(start, start + size)
        weight = (rows < len(y)).astype("float32")
        rows = np.minimum(rows, len(y) - 1)
        yield loadable(take_samples(x, rows)), y[rows], weight
