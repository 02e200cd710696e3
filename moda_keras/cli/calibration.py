"""The samples that `moda compose` repairs a model with."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from moda_keras.cli.arrays import ARRAYS
from moda_keras.cli.data import data_option
from moda_keras.cli.options import complete_data
from moda_keras.cli.slim_samples import SlimDataArguments, load_samples
from moda_keras.cli.terminal import working

if TYPE_CHECKING:
    from moda_keras.modules.module_set import ModuleSet


@dataclass(frozen=True, kw_only=True)
class CalibrationArguments(SlimDataArguments):
    """The fields are the options."""

    data: Annotated[
        str | None,
        data_option(
            "Data to repair the model with: as for moda slim, a name, a folder of images, also "
            f"without labels, or a file of arrays, .npz: {ARRAYS}.",
            "NAME",
            autocompletion=complete_data,
        ),
    ] = None
    calibration_samples: Annotated[
        int,
        data_option("Training samples of the classes that the model is repaired with.", "N", min=2),
    ] = 800

    def check(self) -> None:
        """Refuses options of the data without data.

        Raises:
            BadParameter: If there are any.
        """
        if self.data is None and self != CalibrationArguments():
            raise typer.BadParameter(
                "Expected --data with options of the data, and with --calibration-samples"
            )

    def read(self, modules: "ModuleSet", path: Path, classes: list[int]) -> np.ndarray | None:
        """Samples of classes; None, and a warning where they would help, if no data was given.

        Args:
            modules: The modules.
            path: Their file.
            classes: The classes.
        """
        if self.data is None:
            if modules.importance is not None:
                warnings.warn(
                    f"These are modules by {modules.criterion}, of a model that need not have been "
                    "trained for modularity: it is composed without repair and may be less "
                    "accurate. Pass samples of the classes to repair it with, with --data; they "
                    "need no labels",
                    stacklevel=2,
                )
            return None
        number = self.calibration_samples
        with working("Reading the data"):
            samples = load_samples(
                self, modules.model, path, classes, number,
                class_names=modules.class_names, needs_test=False,
            )  # fmt: skip
        if not samples.is_labelled and modules.slicer.has_independent_outputs:
            warnings.warn(
                "The model's outputs are independent of each other (sigmoids). It is repaired with "
                "the samples whose largest output is one of the chosen classes. To repair it with "
                "others too, compose it in Python: see docs/labels.md",
                stacklevel=2,
            )
        return samples.x_train[samples.training_rows(number)]
