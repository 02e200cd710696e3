"""Models of some classes against the model that they come from: cost, accuracy, agreement."""

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np

from moda_keras.evaluation.flops import count_flops
from moda_keras.evaluation.gather_samples import gather_samples
from moda_keras.evaluation.latency import measure_latency
from moda_keras.evaluation.logits import predict_logits
from moda_keras.evaluation.samples import predict
from moda_keras.modules.checks import check_modules
from moda_keras.modules.module_set import ModuleSet
from moda_keras.observing.labelled_arrays import (
    check_batch_size,
    is_dataset,
    refuse_dataset,
    take_samples,
)
from moda_keras.slicing.parameters import count_parameters

# A sigmoid above it takes a sample for its class.
TAKEN = 0.5


class ModelMeasurement:
    """Measures models of some classes against the original, on the samples of these classes.

    A sample is of one class, and models choose the largest of their outputs. Where outputs are
    independent of each other (sigmoids), and samples have none or several above 0.5, a warning says
    that this is not looked at. One sigmoid alone chooses its class if it is above 0.5; any other
    model of one class has no choice and is always right, which is warned of.

    Args:
        modules: Modules of the original.
        classes: Class indices or names, k of them, in the order of the models' outputs.
        x: Test inputs: an array of N samples, a list or dict of arrays, or with labels a dataset.
            Samples of other classes are ignored.
        y: Labels: integers (N,), one-hot (N, C) or class names (N,). Without labels, samples are of
            the class that the original predicts.
        batch_size: Positive int, the samples in a batch whose time is measured; None to measure no
            time.

    Attributes:
        classes: Int array (k,).
        samples: The number of samples of these classes.
        is_labelled: Whether there are labels.
        labels: Int array (samples,): class indices.
        full_scores: Float array (samples, C): the logits of the original, or what it gives if it
            does not end in a softmax.

    Raises:
        ValueError: If a class is unknown, `x` and `y` do not match, a dataset has no labels, or no
            sample is of these classes.

    Examples:
        ```python
        measurement = mk.metrics.ModelMeasurement(modules, ["cat", "dog"], x_test, y_test)
        print(measurement.measure(small)["accuracy"], measurement.full()["accuracy"])
        ```
    """

    def __init__(
        self,
        modules: ModuleSet,
        classes: Iterable[int | str],
        x: Any,
        y: Any = None,
        *,
        batch_size: int | None = 1,
    ):
        check_modules(modules)
        check_batch_size(batch_size)
        self.modules = modules
        self.classes = modules.resolve_classes(classes)
        self.batch_size = batch_size
        self.is_labelled = y is not None or is_dataset(x)
        if self.is_labelled:
            x, y = gather_samples(modules, x, y)
        else:
            refuse_dataset(x)
            x = keras.tree.map_structure(np.asarray, x)
            y = predict(modules.model, x).argmax(axis=-1)
        is_chosen = np.isin(y, self.classes)
        if not is_chosen.any():
            names = [modules.class_names[index] for index in self.classes]
            raise ValueError(
                f"Expected samples of the classes {names}. Received: samples "
                f"{'of' if self.is_labelled else 'that the model takes for'} other classes only"
            )
        self._x, self.labels = take_samples(x, is_chosen), y[is_chosen]
        self.samples = len(self.labels)
        self.full_scores = predict_logits(modules.model, self._x)
        self._warn_of_what_is_not_measured()
        self._original = self._choices(self.full_scores[:, self.classes])
        self._whole = {
            "parameters": count_parameters(modules.model),
            "flops": _flops(modules.model),
        }

    def full(self) -> dict[str, Any]:
        """The figures of the original, choosing among the classes: see `measure`."""
        return self._figures(self.modules.model, self.full_scores[:, self.classes])

    def head_only(self) -> dict[str, Any]:
        """The figures of the original with the logits of the classes alone: see `measure`."""
        slicer = self.modules.slicer
        return self.measure(slicer.build(slicer.plan({}, self.classes)))

    def measure(self, model: keras.Model, *, milliseconds: float | None = None) -> dict[str, Any]:
        """The figures of a model of the classes.

        Args:
            model: A built model with output (batch, k), as `compose` builds it.
            milliseconds: The time of a sample, if it is known; measured by default.

        Returns:
            A dict:

            - `parameters`: parameters, and `size`, over those of the original.
            - `flops`: multiply-accumulates, and `flops_share`, over those of the original; None if
                the shape of the input is not fixed.
            - `milliseconds`: median time of a sample on this machine; None if not measured.
            - `accuracy`: share of the samples that are classified correctly; None without labels.
            - `agreement`: share of the samples of which the model chooses the class that the
                original chooses among these classes.

        Raises:
            ValueError: If the model has another number of outputs.
        """
        with warnings.catch_warnings():
            # Of one class, which was told before.
            warnings.filterwarnings("ignore", message="You are using a softmax over axis")
            scores = predict(model, self._x)
            if scores.shape != (self.samples, len(self.classes)):
                raise ValueError(
                    f"Expected a model of {len(self.classes)} outputs, one for each class. "
                    f"Received: output shape {(None, *scores.shape[1:])}"
                )
            return self._figures(model, scores, milliseconds)

    def _warn_of_what_is_not_measured(self) -> None:
        is_one = len(self.classes) == 1
        if is_one and not self.modules.slicer.has_independent_outputs:
            warnings.warn(
                f"A model of one class has no choice: accuracy and agreement of the class "
                f"{self.modules.class_names[self.classes[0]]!r} are always 1. Measure at least two "
                "classes",
                stacklevel=3,
            )
        if is_one or not self.modules.slicer.has_independent_outputs:
            return
        several = ((self.full_scores > TAKEN).sum(axis=1) != 1).mean()
        if several:
            warnings.warn(
                f"The outputs of model {self.modules.model.name!r} are independent of each other "
                f"(sigmoids), and {several:.0%} of these samples have none or several above "
                f"{TAKEN}. Samples count as of one class each, accuracy and agreement are by the "
                f"largest of the chosen outputs, and whether an output is above {TAKEN} is not "
                "looked at. If samples may be of several classes, measure the models with a metric "
                "of your own: see docs/labels.md",
                stacklevel=3,
            )

    def _choices(self, scores: np.ndarray) -> np.ndarray:
        """For each sample the position of the chosen class; -1 for none."""
        if scores.shape[1] == 1 and self.modules.slicer.has_independent_outputs:
            return np.where(scores[:, 0] > TAKEN, 0, -1)
        return scores.argmax(axis=-1)

    def _figures(
        self, model: keras.Model, scores: np.ndarray, milliseconds: float | None = None
    ) -> dict[str, Any]:
        parameters, flops = count_parameters(model), _flops(model)
        known = flops is not None and self._whole["flops"]
        chosen = self._choices(scores)
        correct = (self.classes[chosen] == self.labels) & (chosen >= 0)
        return {
            "parameters": parameters,
            "size": parameters / self._whole["parameters"],
            "flops": flops,
            "flops_share": flops / self._whole["flops"] if known else None,
            "milliseconds": milliseconds or self._milliseconds(model),
            "accuracy": float(correct.mean()) if self.is_labelled else None,
            "agreement": float((chosen == self._original).mean()),
        }

    def _milliseconds(self, model: keras.Model) -> float | None:
        size = self.batch_size
        if size is None:
            return None
        latency = _if_shapes_are_fixed(lambda: measure_latency(model, batch_size=size))
        return None if latency is None else latency / size


def _flops(model: keras.Model) -> int | None:
    return _if_shapes_are_fixed(lambda: count_flops(model))


def _if_shapes_are_fixed(measure: Callable[[], Any]) -> Any:
    try:
        return measure()
    except ValueError:
        return None
