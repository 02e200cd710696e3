"""Chooses epsilons: the magnitudes above which units without exact zeros count as active."""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from numbers import Real
from typing import Any

import keras
import numpy as np
from keras import ops

from moda_keras import graph
from moda_keras.graph import HiddenActivation
from moda_keras.observing.activation_observer import ActivationObserver, require_finite
from moda_keras.observing.labelled_arrays import (
    check_batch_size,
    check_data,
    check_steps,
    is_arrays,
    sample_of_arrays,
)
from moda_keras.ops import observation_of, sum_by_class, unit_peaks

DEFAULT_EPSILON = 1e-3
# `epsilon="auto"`: the median of the magnitudes over at most so many samples.
AUTO_QUANTILE = 0.5
AUTO_SAMPLES = 2000

# Magnitudes are counted in bins, with this many per doubling, from 2**-32 to 2**32. This bounds
# memory for any data, and quantiles are accurate to within 1.1 %.
_PER_DOUBLING = 64
_LOWEST = -32
_BINS = 64 * _PER_DOUBLING


def choose_epsilons(
    model: keras.Model,
    x: Any,
    *,
    quantile: float = 0.5,
    batch_size: int | None = None,
    steps: int | None = None,
    verbose: str | int = "auto",
) -> dict[str, float]:
    """Chooses from data from which magnitude on a unit is active, for `decompose(epsilon=...)`.

    GELU, SiLU, tanh, attention heads and recurrent states are never exactly zero: with a fixed
    epsilon, units of an activation may all be active always. Here the epsilon of an activation is a
    quantile of the magnitudes of its units over all samples, so that one and the same fraction of
    them is active everywhere. A unit with several positions or steps in time has the largest
    magnitude of any of them, as in `decompose`.

    Args:
        model: Any built Functional or Sequential model. It runs in inference mode.
        x: Data: anything that `fit` takes; labels are not needed. A sample of the training data is
            enough.
        quantile: Float in [0, 1): the fraction of magnitudes up to the epsilon.
        batch_size: Batch size for arrays; 32 by default, as in Keras.
        steps: Number of batches to draw; needed for an endless generator.
        verbose: "auto", 0, 1 or 2, as in `evaluate`.

    Returns:
        Dict from activation name to epsilon, of the activations that give no exact zeros.

    Raises:
        ValueError: If the model has no graph or no hidden activation, `quantile` is not in [0, 1),
            there is no data, or an activation is not finite.

    Examples:
        >>> import keras
        >>> import numpy as np
        >>> import moda_keras as mk
        >>> model = keras.Sequential([
        ...     keras.Input((1,)),
        ...     keras.layers.Dense(2, "tanh", kernel_initializer="ones", name="features"),
        ...     keras.layers.Dense(2),
        ... ])
        >>> x = np.arctanh([[0.1], [0.2], [-0.4], [0.8]])
        >>> epsilons = mk.choose_epsilons(model, x, quantile=0.5, verbose=0)
        >>> 0.2 <= epsilons["features"] < 0.21
        True
        >>> modules = mk.decompose(model, x, np.array([0, 0, 1, 1]), epsilon=epsilons, verbose=0)
        >>> modules.frequency["features"].tolist()
        [[0.0, 0.0], [1.0, 1.0]]
    """
    if not isinstance(quantile, Real) or not 0 <= quantile < 1:
        raise ValueError(f"Expected `quantile` in [0, 1). Received: quantile={quantile!r}")
    traced = graph.trace(model)
    check_data(x, len(traced.model.inputs))
    check_batch_size(batch_size)
    check_steps(steps)
    return _quantiles(traced, x, quantile, batch_size=batch_size, steps=steps, verbose=verbose)


def choose_automatically(
    traced: graph.Graph, x: Any, epsilon: str, *, batch_size: int | None
) -> dict[str, float] | float:
    """What `epsilon="auto"` means: medians of magnitudes over a sample of the data.

    Args:
        traced: The graph of the model.
        x: Data: anything that `fit` takes.
        epsilon: "auto".
        batch_size: Batch size for arrays.

    Returns:
        Dict from activation name to epsilon, empty if all activations have exact zeros. The default
        epsilon for data that can be read only once, with a warning.

    Raises:
        ValueError: If `epsilon` is another str.
    """
    check_automatic(epsilon)
    inexact = [h.name for h, _ in graph.hidden_activations_of(traced) if not h.exact_zero]
    if not inexact:
        return {}
    if isinstance(x, Iterator):
        warnings.warn(
            f"The activations {inexact} are never exactly zero, and a generator can be read only "
            f"once: a unit counts as active above {DEFAULT_EPSILON}, which may make modules "
            "large. Pass `epsilon=moda_keras.choose_epsilons(model, x_sample)`.",
            stacklevel=3,
        )
        return DEFAULT_EPSILON
    if is_arrays(x):
        x = sample_of_arrays(x, AUTO_SAMPLES)
        return _quantiles(traced, x, AUTO_QUANTILE, batch_size=batch_size, steps=None, verbose=0)
    return _quantiles(traced, x, AUTO_QUANTILE, batch_size=None, steps=_steps_of(x), verbose=0)


def check_automatic(epsilon: str) -> None:
    """Raises a ValueError if an `epsilon` that is a str is not "auto"."""
    if epsilon != "auto":
        raise ValueError(
            'Expected `epsilon` to be "auto", a number >= 0, or a dict from names of activations '
            f"to such numbers. Received: epsilon={epsilon!r}"
        )


def _steps_of(dataset: Any) -> int | None:
    """So many batches as hold about `AUTO_SAMPLES` samples; None for all."""
    first = keras.tree.flatten(
        dataset[0] if hasattr(dataset, "__getitem__") else next(iter(dataset))
    )[0]
    steps = -(-AUTO_SAMPLES // max(1, len(first)))
    try:
        return min(steps, len(dataset))
    except TypeError:
        return steps


def _quantiles(traced: graph.Graph, x: Any, quantile: float, **arguments: Any) -> dict[str, float]:
    observer = ActivationObserver(traced, MagnitudeCounts)
    observer.observe(x, **arguments)
    return observer.metric.quantiles(quantile)


def resolve_epsilons(
    hidden: Sequence[HiddenActivation], epsilon: float | Mapping[str, float]
) -> dict[str, float]:
    """The epsilon of every hidden activation.

    Args:
        hidden: The hidden activations.
        epsilon: Float >= 0, for the activations without exact zeros, or a dict from names to such
            floats. For names that it lacks it is the default.

    Returns:
        Dict from activation name to epsilon: 0 for activations with exact zeros, unless the dict
        says another.

    Raises:
        ValueError: If a name is unknown or an epsilon is no number >= 0.
    """
    given = dict(epsilon) if isinstance(epsilon, Mapping) else {}
    default = DEFAULT_EPSILON if isinstance(epsilon, Mapping) else _check(epsilon)
    names = [activation.name for activation in hidden]
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise ValueError(
            f"Unknown activation in `epsilon`. Expected names among {names}. Received: {unknown}"
        )
    defaults = {each.name: 0.0 if each.exact_zero else default for each in hidden}
    return {**defaults, **{name: _check(value) for name, value in given.items()}}


def _check(epsilon: Any) -> float:
    try:
        value = float(epsilon)
    except (TypeError, ValueError):
        value = math.nan
    if not 0 <= value < math.inf:
        raise ValueError(
            "Expected `epsilon` to be a number >= 0, or a dict from names of activations to such "
            f"numbers. Received: epsilon={epsilon}"
        )
    return value


class MagnitudeCounts(keras.metrics.Metric):
    """How often magnitudes fall into each bin, for activations without exact zeros."""

    def __init__(self, hidden: Sequence[HiddenActivation]):
        super().__init__(name="samples", dtype="float32")
        self.hidden = hidden
        self.counted = [i for i, activation in enumerate(hidden) if not activation.exact_zero]
        shapes = [(_BINS, 1)] * len(self.counted)
        self.counts = [self._add(f"counts_{i}", shape) for i, shape in enumerate(shapes)]
        self.samples = self._add("samples", ())
        self.not_finite = self._add("not_finite", (len(hidden),))

    def _add(self, name: str, shape: tuple):
        return self.add_variable(shape, initializer="zeros", dtype="float32", name=name)

    def update_state(self, y_true, y_pred, sample_weight=None):
        observed = [
            observation_of(values, hidden.channel_axis)
            for hidden, values in zip(self.hidden, y_pred, strict=True)
        ]
        self.samples.assign(self.samples + ops.shape(observed[0].values)[0])
        peaks = [
            ops.cast(unit_peaks(each.values, axis=each.axis, mask=each.mask), "float32")
            for each in observed
        ]
        bad = [ops.sum(ops.cast(~ops.isfinite(each), "float32")) for each in peaks]
        self.not_finite.assign(self.not_finite + ops.stack(bad))
        for variable, index in zip(self.counts, self.counted, strict=True):
            # In units of one sample, for a float32 counts no more than 2**24 values.
            variable.assign(variable + _histogram(peaks[index]) / peaks[index].shape[1])

    def result(self):
        return ops.cast(self.samples, "float32")

    @property
    def tables(self) -> list:
        """The variables, in the order that `quantiles_of` takes."""
        return [self.samples, self.not_finite, *self.counts]

    def quantiles(self, quantile: float) -> dict[str, float]:
        """The upper edge of the bin in which the quantile lies, by activation name."""
        require_finite(self.hidden, self.not_finite)
        if not ops.convert_to_numpy(self.samples):
            raise ValueError("Expected at least one sample. Received: data with none")
        return self.quantiles_of([ops.convert_to_numpy(each) for each in self.tables], quantile)

    def quantiles_of(self, tables: Sequence[np.ndarray], quantile: float) -> dict[str, float]:
        """As `quantiles`, of the tables of several batches, added up."""
        names = [self.hidden[index].name for index in self.counted]
        return {
            name: _quantile(counts[:, 0], quantile)
            for name, counts in zip(names, tables[2:], strict=True)
        }


def _histogram(magnitudes: Any) -> Any:
    """Float tensor (bins, 1) of counts. The first bin also holds all smaller values."""
    flat = ops.reshape(magnitudes, (-1,))
    flat = ops.where(ops.isfinite(flat), flat, ops.zeros_like(flat))
    tiny = 2.0 ** (_LOWEST - 1)
    doublings = ops.log2(ops.maximum(flat, tiny)) - _LOWEST
    bins = ops.clip(ops.ceil(doublings * _PER_DOUBLING), 0, _BINS - 1)
    return sum_by_class(ops.ones_like(flat)[:, None], ops.cast(bins, "int32"), _BINS)


def _quantile(counts: np.ndarray, quantile: float) -> float:
    fractions = np.cumsum(counts, dtype="float64") / counts.sum(dtype="float64")
    reached = fractions >= quantile - 1e-6  # the counts are rounded
    index = int(np.argmax(reached & (counts > 0)))
    return float(2.0 ** (_LOWEST + index / _PER_DOUBLING))
