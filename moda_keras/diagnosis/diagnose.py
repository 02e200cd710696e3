"""Looks for all signs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from moda_keras.diagnosis.checks import find_signs
from moda_keras.diagnosis.evidence import gather_evidence
from moda_keras.diagnosis.finding import Finding
from moda_keras.modules.module_set import ModuleSet
from moda_keras.training.moda_loss import MODALoss


def diagnose(
    modules: ModuleSet,
    x_test: Any = None,
    y_test: Any = None,
    *,
    history: Any = None,
    subtask_rows: Sequence[Mapping[str, Any]] | str | Path | None = None,
    modular_loss: MODALoss | None = None,
    seed: int = 0,
) -> list[Finding]:
    """Looks for the known signs of modules that are not what they could be.

    Signs that need what is not given (test data, history, counts of `decompose`) are not looked
    for; `CHECKS` lists all.

    Args:
        modules: The modules.
        x_test: Test inputs, an array of N samples, or a list or dict of arrays.
        y_test: Labels: integers (N,) or one-hot (N, C).
        history: What `fit` with a `modular_loss` returned, its `history` dict, or the path of a
            file that `keras.callbacks.CSVLogger` wrote.
        subtask_rows: What `moda_keras.experiments.sweep_subtasks` gave, or the path of its file.
            By default a sample of sub-tasks is measured on the test data.
        modular_loss: The loss of the training, for its weights; by default the one that the model
            is compiled with, else the paper's weights.
        seed: Seed of the sample of sub-tasks.

    Returns:
        List of `Finding`s, problems first; empty if no sign was found.

    Raises:
        ValueError: If an argument is not what is expected.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> import moda_keras as mk
        >>> model = keras.Sequential([
        ...     keras.Input((2,)),
        ...     keras.layers.Dense(6, activation="relu", name="features"),
        ...     keras.layers.Dense(3),
        ... ])
        >>> units = {"features": np.ones((3, 6), bool)}
        >>> [finding.sign for finding in mk.ModuleSet.from_units(model, units).diagnose()]
        ['overlap', 'size']
    """
    return find_signs(
        gather_evidence(
            modules,
            x_test,
            y_test,
            history=history,
            subtask_rows=subtask_rows,
            modular_loss=modular_loss,
            seed=seed,
        )
    )
