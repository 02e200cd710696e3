"""Finding the modules of a trained model."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from moda_keras import graph
from moda_keras.epsilons import DEFAULT_EPSILON, resolve_epsilons
from moda_keras.graph import HiddenActivation
from moda_keras.module_set import ModuleSet, Threshold, check_class_names, check_threshold
from moda_keras.observation import ActivationObserver, require_finite
from moda_keras.ops import activation_counts, check_labels, sum_by_class, unchecked_class_ids


def decompose(
    model: keras.Model,
    x: Any,
    y: Any = None,
    *,
    threshold: Threshold = 0.9,
    class_names: Sequence[str] | None = None,
    epsilon: float | Mapping[str, float] = DEFAULT_EPSILON,
    batch_size: int | None = None,
    sample_weight: Any = None,
    steps: int | None = None,
    verbose: str | int = "auto",
) -> ModuleSet:
    """Finds the modules of a trained model, in one pass over its training data.

    A unit is in the module of a class if it is active for at least a fraction `threshold` of the
    class's samples. A unit is active if it is not zero; a channel of a map, an attention head or a
    recurrent unit, if it is not at any position or time. Where a non-linearity is never exactly
    zero (GELU, tanh, ...), a unit is active if its magnitude exceeds `epsilon`.

    Args:
        model: Any built Functional or Sequential model with one output (batch, C), modular or not.
            It runs in inference mode.
        x: Training data: anything that `fit` takes (arrays, `tf.data.Dataset`, `DataLoader`,
            `PyDataset`, generator).
        y: Labels, if `x` does not hold them: integers (N,) or one-hot (N, C).
        threshold: Float in [0, 1], or a dict with one for each hidden activation.
        class_names: C names; "0", "1", ... by default.
        epsilon: Float >= 0, for the non-linearities that give no exact zeros; or a dict from names
            of hidden activations to such floats, as `choose_epsilons` finds them in data.
        batch_size: Batch size for arrays; 32 by default, as in Keras.
        sample_weight: Optional weights (N,). Samples of weight 0 are not counted.
        steps: Number of batches to draw; needed for an endless generator.
        verbose: "auto", 0, 1 or 2, as in `evaluate`.

    Returns:
        A `ModuleSet`.

    Raises:
        ValueError: If the model has no graph, no hidden activation or several outputs, `epsilon` is
            no such number or names an unknown activation, a label is out of range, the data has no
            labels, or an activation is not finite.

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
    if hasattr(y, "shape") or isinstance(y, list):
        check_labels(y, classes)
        _require_samples(len(y))
    hidden = graph.find_hidden_activations(model)
    threshold = check_threshold(threshold, [each.name for each in hidden])
    epsilons = resolve_epsilons(hidden, epsilon)
    observer = ActivationObserver(model, lambda hidden: ActivationCounts(hidden, classes, epsilons))
    observer.observe(
        x, y, batch_size=batch_size, sample_weight=sample_weight, steps=steps, verbose=verbose
    )
    counts, samples = observer.metric.tables()
    _require_samples(samples.sum())
    _warn_of_absent_classes(samples, class_names)
    return ModuleSet.from_counts(
        model, counts, samples, threshold=threshold, class_names=class_names, epsilons=epsilons
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


class ActivationCounts(keras.metrics.Metric):
    """How many samples of each class activate each unit.

    Args:
        hidden: The hidden activations.
        classes: C, the number of classes.
        epsilons: Dict from activation name to the magnitude above which a unit is active.

    Attributes:
        not_finite: Int variable (A,): for each activation the values that are NaN or infinite.
    """

    def __init__(
        self, hidden: Sequence[HiddenActivation], classes: int, epsilons: Mapping[str, float]
    ):
        super().__init__(name="samples", dtype="float32")
        self.hidden = hidden
        self.classes = classes
        self.epsilons = [epsilons[activation.name] for activation in hidden]
        self.counts = [self._add(f"counts_{i}", (classes, h.units)) for i, h in enumerate(hidden)]
        self.samples = self._add("samples", (classes,))
        self.not_finite = self._add("not_finite", (len(hidden),))
        self.invalid_labels = self._add("invalid_labels", ())

    def _add(self, name: str, shape: tuple):
        return self.add_variable(shape, initializer="zeros", dtype="int32", name=name)

    def update_state(self, y_true, y_pred, sample_weight=None):
        if y_true is None:
            raise ValueError(
                "Expected labels, in `y` or as the second element of what `x` yields. Received: "
                "data without labels"
            )
        out_of_range = unchecked_class_ids(y_true, self.classes) == self.classes
        ids = unchecked_class_ids(y_true, self.classes, sample_weight)
        _add_to(self.invalid_labels, _count(out_of_range))
        _add_to(self.samples, self._count_by_class(ops.ones_like(ids)[:, None], ids)[:, 0])
        counts, not_finite = activation_counts(
            y_pred,
            ids,
            self.classes,
            axes=[hidden.channel_axis for hidden in self.hidden],
            epsilons=self.epsilons,
        )
        for variable, count in zip(self.counts, counts, strict=True):
            _add_to(variable, count)
        _add_to(self.not_finite, not_finite)

    def _count_by_class(self, rows, ids):
        return sum_by_class(ops.cast(rows, "int32"), ids, self.classes)

    def result(self):
        return ops.cast(ops.sum(self.samples), "float32")

    def tables(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Activation counts by activation name, and sample counts; ValueError if data was bad."""
        invalid = int(ops.convert_to_numpy(self.invalid_labels))
        if invalid:
            raise ValueError(
                f"Expected labels from 0 to {self.classes - 1}. Received: data with "
                f"{invalid} labels out of that range"
            )
        require_finite(self.hidden, self.not_finite)
        counts = {
            hidden.name: ops.convert_to_numpy(variable).astype("int64")
            for hidden, variable in zip(self.hidden, self.counts, strict=True)
        }
        return counts, ops.convert_to_numpy(self.samples).astype("int64")


def _add_to(variable, value) -> None:
    variable.assign(variable + value)


def _count(condition) -> Any:
    return ops.sum(ops.cast(condition, "int32"))
