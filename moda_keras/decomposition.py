"""Finding the modules of a trained model."""

import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from moda_keras import graph
from moda_keras.activation_probe import ActivationProbe
from moda_keras.graph import HiddenActivation
from moda_keras.module_set import ModuleSet, check_class_names
from moda_keras.ops import activation_counts, check_labels, sum_by_class, unchecked_class_ids
from moda_keras.ops.adapters import adapter


def decompose(
    model: keras.Model,
    x: Any,
    y: Any = None,
    *,
    threshold: float = 0.9,
    class_names: Sequence[str] | None = None,
    epsilon: float = 1e-3,
    batch_size: int | None = None,
    sample_weight: Any = None,
    steps: int | None = None,
    verbose: str | int = "auto",
) -> ModuleSet:
    """Finds the modules of a trained model, in one pass over its training data.

    A unit is in the module of a class if it is active for at least a fraction `threshold` of the
    class's samples. A unit is active if it is not zero; a channel of a map, if any position is not.
    Where a non-linearity is never exactly zero (GELU, tanh, ...), a unit is active if its magnitude
    exceeds `epsilon`.

    Args:
        model: Any built Functional or Sequential model with one output (batch, C), modular or not.
            It runs in inference mode.
        x: Training data: anything that `fit` takes (arrays, `tf.data.Dataset`, `DataLoader`,
            `PyDataset`, generator).
        y: Labels, if `x` does not hold them: integers (N,) or one-hot (N, C).
        threshold: Float in [0, 1].
        class_names: C names; "0", "1", ... by default.
        epsilon: Float >= 0, for the non-linearities that give no exact zeros.
        batch_size: Batch size for arrays; 32 by default, as in Keras.
        sample_weight: Optional weights (N,). Samples of weight 0 are not counted.
        steps: Number of batches to draw; needed for an endless generator.
        verbose: "auto", 0, 1 or 2, as in `evaluate`.

    Returns:
        A `ModuleSet`.

    Raises:
        ValueError: If the model has no graph, no hidden activation or several outputs, a label is
            out of range, the data has no labels, or an activation is not finite.

    Example:
    >>> import keras
    >>> import numpy as np
    >>> import moda_keras as mk
    >>> model = keras.Sequential([
    ...     keras.Input((2,)),
    ...     keras.layers.Dense(3, activation="relu", kernel_initializer="ones", name="features"),
    ...     keras.layers.Dense(2),
    ... ])
    >>> x, y = np.array([[1.0, 1.0], [-1.0, 0.0]]), np.array([0, 1])
    >>> modules = mk.decompose(model, x, y, verbose=0)
    >>> modules.frequency["features"].tolist()
    [[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]

    Source: MODA (ICSE 2026), section 3.2, equation 9.
    """
    graph.require_graph(model)
    graph.require_single_output(model)
    classes = model.outputs[0].shape[-1]
    class_names = check_class_names(class_names, classes)
    if not 0 <= threshold <= 1:
        raise ValueError(f"Expected `threshold` in [0, 1]. Received: threshold={threshold}")
    if hasattr(y, "shape") or isinstance(y, list):
        check_labels(y, classes)
        _require_samples(len(y))
    counter = _Counter(model, classes, epsilon)
    with adapter.keep_variables(counter):
        counter.evaluate(
            x, y, batch_size=batch_size, sample_weight=sample_weight, steps=steps, verbose=verbose
        )
    counts, samples = counter.result()
    _require_samples(samples.sum())
    _warn_of_absent_classes(samples, class_names)
    return ModuleSet.from_counts(
        model, counts, samples, threshold=threshold, class_names=class_names
    )


def _require_samples(samples: int) -> None:
    if not samples:
        raise ValueError("Expected at least one training sample. Received: data with none")


def _warn_of_absent_classes(samples: np.ndarray, class_names: Sequence[str]) -> None:
    absent = [class_names[index] for index in np.flatnonzero(samples == 0)]
    if absent:
        warnings.warn(
            f"The data has no sample of the classes {absent}: they have no modules and cannot be "
            "composed.",
            stacklevel=3,
        )


class _ActivationCounts(keras.metrics.Metric):
    """Counts, as a Keras metric: it streams, and is right in any compiled evaluation step."""

    def __init__(self, hidden: Sequence[HiddenActivation], classes: int, epsilon: float):
        super().__init__(name="samples", dtype="float32")
        self.hidden = hidden
        self.classes = classes
        self.epsilon = epsilon
        self.counts = [self._add(f"counts_{i}", (classes, h.units)) for i, h in enumerate(hidden)]
        self.samples = self._add("samples", (classes,))
        self.not_finite = self._add("not_finite", (len(hidden),))
        self.invalid_labels = self._add("invalid_labels", ())

    def _add(self, name: str, shape: tuple):
        return self.add_variable(shape, initializer="zeros", dtype="int32", name=name)

    def update_state(self, y_true, y_pred, sample_weight=None):
        out_of_range = unchecked_class_ids(y_true, self.classes) == self.classes
        ids = unchecked_class_ids(y_true, self.classes, sample_weight)
        _add_to(self.invalid_labels, _count(out_of_range))
        _add_to(self.samples, self._count_by_class(ops.ones_like(ids)[:, None], ids)[:, 0])
        counts, not_finite = activation_counts(
            y_pred,
            ids,
            self.classes,
            axes=[hidden.channel_axis for hidden in self.hidden],
            epsilons=[0.0 if hidden.exact_zero else self.epsilon for hidden in self.hidden],
        )
        for variable, count in zip(self.counts, counts, strict=True):
            _add_to(variable, count)
        _add_to(self.not_finite, not_finite)

    def _count_by_class(self, rows, ids):
        return sum_by_class(ops.cast(rows, "int32"), ids, self.classes)

    def result(self):
        return ops.cast(ops.sum(self.samples), "float32")


class _Counter(keras.Model):
    """Runs the data through a model's hidden activations in Keras's own evaluation loop."""

    def __init__(self, model: keras.Model, classes: int, epsilon: float):
        super().__init__(name="decomposition")
        self.probe = ActivationProbe(model)
        self.hidden = self.probe.hidden
        if not self.hidden:
            raise ValueError(
                "Expected a model with at least one hidden activation: a hidden layer with a "
                f"non-linear activation. Received: model {model.name!r}, which has none"
            )
        self.counts = _ActivationCounts(self.hidden, classes, epsilon)
        self.compile()

    def call(self, inputs):
        return self.probe(inputs, training=False)

    @property
    def metrics(self):
        return [self.counts]

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=False):
        return ops.zeros(())

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        if y is None:
            raise ValueError(
                "Expected labels, in `y` or as the second element of what `x` yields. Received: "
                "data without labels"
            )
        self.counts.update_state(y, y_pred, sample_weight)
        return self.get_metrics_result()

    def result(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Activation counts by activation name, and sample counts; ValueError if data was bad."""
        invalid = int(ops.convert_to_numpy(self.counts.invalid_labels))
        if invalid:
            raise ValueError(
                f"Expected labels from 0 to {self.counts.classes - 1}. Received: data with "
                f"{invalid} labels out of that range"
            )
        not_finite = ops.convert_to_numpy(self.counts.not_finite)
        if not_finite.any():
            names = [h.name for h, n in zip(self.hidden, not_finite, strict=True) if n]
            raise ValueError(
                "Expected finite activations. Received: NaN or infinity in the activations "
                f"{names}; check the data and the model's weights"
            )
        counts = {
            hidden.name: ops.convert_to_numpy(variable).astype("int64")
            for hidden, variable in zip(self.hidden, self.counts.counts, strict=True)
        }
        return counts, ops.convert_to_numpy(self.counts.samples).astype("int64")


def _add_to(variable, value) -> None:
    variable.assign(variable + value)


def _count(condition) -> Any:
    return ops.sum(ops.cast(condition, "int32"))
