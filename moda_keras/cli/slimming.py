"""What `moda slim` does with its samples: importance, the choice of units, repair, measuring."""

import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from moda_keras.cli.terminal import percent

if TYPE_CHECKING:
    import keras

    from moda_keras.cli.slim_samples import SlimSamples
    from moda_keras.evaluation import ModelMeasurement
    from moda_keras.modules.module_set import ModuleSet

# The options of budgets, by the name in `modules.within`.
OPTIONS = {
    "parameters": "--size",
    "flops": "--flops",
    "latency_ms": "--latency-ms",
    "max_accuracy_loss": "--max-accuracy-loss",
}
# A model is taken to guess if it is no further than this on the way from chance to always right.
GUESSING = 0.1


class Slimming:
    """Small models of the chosen classes of a model.

    Args:
        model: The model.
        samples: Samples of the classes.
        budget: Name and value, as of `modules.within`; milliseconds are those of one sample.
        batch_size: Samples in a batch whose time is measured.
        importance: How many training samples units are chosen by.
        calibration: How many training samples models are repaired with; 0 for no repair.

    Attributes:
        numbers: How many samples are used for what.
        sized_by: "parameters" or "flops": what the sizes of the curve are shares of.
        calibration_data: Inputs, or None.
    """

    def __init__(
        self,
        model: "keras.Model",
        samples: "SlimSamples",
        budget: tuple[str, float],
        batch_size: int,
        importance: int,
        calibration: int,
    ):
        self.model = model
        self.samples = samples
        self.name, self.limit = budget
        self.sized_by = "flops" if self.name == "flops" else "parameters"
        self.batch_size = batch_size
        # A loss of accuracy is measured on training samples that repair does not see.
        most = 0.5 if self.name == "max_accuracy_loss" else 1.0
        self._importance = samples.training_rows(importance)
        self._calibration = samples.training_rows(calibration, most)
        self.calibration_data = samples.x_train[self._calibration] if calibration else None
        self.numbers = {
            "importance": len(self._importance),
            "calibration": len(self._calibration),
            "test": len(samples.y_test),
        }

    @cached_property
    def modules(self) -> "ModuleSet":
        """The modules of the model, with the importance of the chosen classes."""
        import moda_keras as mk

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The data has no sample of the classes")
            return mk.decompose(
                self.model,
                self.samples.x_train[self._importance],
                self.samples.y_train[self._importance],
                criterion="importance",
                class_names=self.samples.class_names,
                verbose=0,
            )

    @cached_property
    def measurement(self) -> "ModelMeasurement":
        """Measures models on the test samples."""
        import moda_keras as mk

        return mk.metrics.ModelMeasurement(
            self.modules,
            self.samples.classes,
            self.samples.x_test,
            self.samples.y_test if self.samples.is_labelled else None,
            batch_size=self.batch_size,
        )

    def warn_of_guessing(self) -> None:
        """Warns of a model that knows none of the classes: its inputs are probably others."""
        if not self.samples.is_labelled:
            return
        scores, labels = self.measurement.full_scores, self.measurement.labels
        chosen = self.samples.classes
        among_all = (scores.argmax(axis=-1) == labels).mean()
        among_chosen = (np.array(chosen)[scores[:, chosen].argmax(axis=-1)] == labels).mean()
        if _is_guess(among_all, scores.shape[1]) or _is_guess(among_chosen, len(chosen)):
            warnings.warn(
                f"The full model has an accuracy of {percent(among_all)} among all classes and of "
                f"{percent(among_chosen)} among the chosen ones, which is close to chance. Is "
                "--pixels right, the values that it wants, and the order of its classes "
                "(--class-names)?",
                stacklevel=2,
            )

    def slim(self) -> tuple[list[dict[str, Any]], "keras.Model"]:
        """The rows of the full model, of the head only and of the budget; and the model."""
        from moda_keras.tuning.sizes import measure_choice, reference_rows

        found = self._choice()
        rows, small = measure_choice(self.measurement, found, self.limit, self.calibration_data)
        return reference_rows(self.measurement) + rows, small

    def _choice(self) -> "ModuleSet":
        """The units that the budget allows."""
        limit, options = self.limit, {"calibration_data": self.calibration_data}
        if self.name == "latency_ms":
            limit, options = limit * self.batch_size, {"batch_size": self.batch_size}
        elif self.name == "max_accuracy_loss":
            x, y = self.samples.x_train, self.samples.y_train
            rows = np.setdiff1d(np.arange(len(y)), self._calibration)
            options["validation_data"] = (x[rows], y[rows])
        from moda_keras.tuning.budget import UnmetBudgetError

        try:
            return self.modules.within(
                classes=self.samples.classes, **{self.name: limit}, **options
            )
        except UnmetBudgetError as error:
            least = error.least * self.limit / limit
            received = f"{OPTIONS[self.name]} {self.limit:g}"
            raise UnmetBudgetError(received, least, error.classes) from None

    def curve(self, sizes: Sequence[float]) -> list[dict[str, Any]]:
        """The rows of other sizes.

        Args:
            sizes: Floats in (0, 1], or none for the usual ones, as far as a model can be so small.
        """
        from moda_keras.tuning.budget import UnmetBudgetError
        from moda_keras.tuning.sizes import SIZES, sized_rows

        others = [
            size for size in (sizes or SIZES) if self.name != self.sized_by or size != self.limit
        ]
        try:
            return sized_rows(
                self.measurement,
                others,
                budget=self.sized_by,
                calibration_data=self.calibration_data,
                leave_out_unmet=not sizes,
            )
        except UnmetBudgetError as error:
            received = f"--curve {error.received.partition('=')[2]}"
            raise UnmetBudgetError(received, error.least, error.classes) from None


def _is_guess(accuracy: float, classes: int) -> bool:
    chance = 1 / classes
    return classes > 1 and accuracy <= chance + GUESSING * (1 - chance)
