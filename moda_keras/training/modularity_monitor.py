"""A Keras callback that measures modularity while a model is trained."""

import math
import warnings
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from moda_keras import graph
from moda_keras.messages import listed
from moda_keras.modules.module_set import ModuleSet
from moda_keras.modules.overlap import mean_overlap
from moda_keras.modules.selection import Threshold, check_threshold
from moda_keras.modules.size import module_size
from moda_keras.observing.fixed_sample import FixedSample, SampleTotals
from moda_keras.observing.labelled_arrays import (
    check_labelled_arrays,
    draw_of_each_class,
    take_samples,
)
from moda_keras.training.moda_loss import MODALoss


class ModularityMonitor(keras.callbacks.Callback):
    """Adds figures of modularity to the logs of training, epoch by epoch.

    The logs get, for each hidden activation, `affinity/<name>`, `dispersion/<name>` and
    `compactness/<name>`, and of the modules that the model would fall into `modules/size` and
    `modules/overlap`, means over modules and over their pairs. All are of a fixed sample of data
    that runs through the model in inference mode, so models are compared that differ only in
    training, and a model may be trained in any way: with modular objectives or without.

    `fit`'s `History`, `CSVLogger`, `TensorBoard` and the like write what is in the logs: list them
    *behind* the monitor. A `keras.callbacks.ProgbarLogger()` listed before it keeps the figures out
    of the progress bar.

    Epochs are measured from the first on, every `every`-th and the last. In the others the figures
    are NaN, not missing: `CSVLogger` has the columns of the first epoch. They are NaN too while
    activations are not finite.

    Training is not disturbed: weights, optimizer, metrics and random numbers are as without.

    Args:
        x: Data to draw the sample from: an array of N samples, or a list or dict of arrays for a
            model of several inputs.
        y: Labels: integers (N,) or one-hot (N, C).
        every: Positive int. Measure every so many epochs.
        threshold: tau of the modules, as in `decompose`.
        samples_per_class: Positive int. Samples of each class to draw; all if there are fewer.
        objectives: Whether to log the objectives of every hidden activation.
        modular_loss: A `MODALoss` that sets how objectives are averaged; its weights are ignored.
            `MODALoss()` by default.
        epsilon: As in `decompose`. With "auto", epsilons are chosen from the sample in every epoch
            that is measured.
        batch_size: Samples that run at a time.
        seed: Seed of the draw.

    Raises:
        ValueError: If an argument is impossible. When training begins, if `x` and `y` do not fit
            the model or each other, or the model cannot be decomposed.

    Examples:
        ```python
        monitor = mk.callbacks.ModularityMonitor(x_train, y_train, every=5)
        tensorboard = keras.callbacks.TensorBoard("logs")
        model.fit(x_train, y_train, epochs=100, callbacks=[monitor, tensorboard])
        ```
    """

    def __init__(
        self,
        x: Any,
        y: Any,
        *,
        every: int = 1,
        threshold: Threshold = 0.9,
        samples_per_class: int = 50,
        objectives: bool = True,
        modular_loss: MODALoss | None = None,
        epsilon: float | str | Mapping[str, float] = "auto",
        batch_size: int = 128,
        seed: int = 0,
    ):
        super().__init__()
        for name, value in (
            ("every", every),
            ("samples_per_class", samples_per_class),
            ("batch_size", batch_size),
        ):
            if not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(
                    f"Expected `{name}` to be a positive int. Received: {name}={value}"
                )
        self.x = x
        self.y = y
        self.every = every
        self.threshold = threshold
        self.samples_per_class = samples_per_class
        self.objectives = objectives
        self.modular_loss = modular_loss or MODALoss()
        self.epsilon = epsilon
        self.batch_size = batch_size
        self.seed = seed
        self._sample: FixedSample | None = None

    def on_train_begin(self, logs: dict | None = None) -> None:
        if self._sample is None or self._sample.model is not self.model:
            self._sample = self._take_sample(self.model)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if logs is None:
            return
        is_last = epoch == self.params.get("epochs", 0) - 1
        figures = dict.fromkeys(self._names, math.nan)
        if is_last or epoch % self.every == 0:
            # Asking a callback for its model brings the weights up to date with JAX.
            figures.update(self._measure(self.model))
        logs.update(figures)

    @property
    def _names(self) -> list[str]:
        activations = self._sample.epsilons if self.objectives else ()
        by_layer = [
            f"{objective}/{name}"
            for objective in self.modular_loss.objective_names
            for name in activations
        ]
        return [*by_layer, "modules/size", "modules/overlap"]

    def _take_sample(self, model: keras.Model) -> FixedSample:
        model = graph.to_functional(model)
        graph.require_single_output(model)
        classes = model.outputs[0].shape[-1]
        x, y = check_labelled_arrays(self.x, self.y, classes)
        drawn = draw_of_each_class(y, np.unique(y), self.samples_per_class, self.seed)
        chosen = np.sort(np.concatenate(drawn))
        _warn_of_absent_classes(y, classes)
        sample = FixedSample(
            model,
            take_samples(x, chosen),
            y[chosen],
            epsilon=self.epsilon,
            batch_size=self.batch_size,
        )
        check_threshold(self.threshold, list(sample.epsilons))
        return sample

    def _measure(self, model: keras.Model) -> dict[str, float]:
        totals = self._sample.measure()
        if not totals.is_finite:
            return {}
        modules = ModuleSet.from_counts(
            model, totals.activation_counts, totals.sample_counts, threshold=self.threshold
        )
        return {
            **self._objectives(totals),
            "modules/size": float(np.nanmean(module_size(modules))),
            "modules/overlap": mean_overlap(modules),
        }

    def _objectives(self, totals: SampleTotals) -> dict[str, float]:
        if not self.objectives:
            return {}
        by_layer = {
            name: self.modular_loss.objectives_of(
                type(statistics)(*map(keras.ops.convert_to_tensor, statistics))
            )
            for name, statistics in totals.statistics.items()
        }
        return {
            f"{objective}/{name}": float(values[objective])
            for objective in self.modular_loss.objective_names
            for name, values in by_layer.items()
        }


def _warn_of_absent_classes(y: np.ndarray, classes: int) -> None:
    absent = np.setdiff1d(np.arange(classes), y).tolist()
    if absent:
        warnings.warn(
            f"The monitor's data has no sample of the classes {listed(absent)}: its figures leave "
            "them out.",
            stacklevel=3,
        )
