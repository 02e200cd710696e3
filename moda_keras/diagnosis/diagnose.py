"""Checks modules for all signs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from moda_keras.diagnosis.evidence import Evidence, gather_evidence
from moda_keras.diagnosis.finding import Finding, Findings
from moda_keras.diagnosis.signs import CHECKS
from moda_keras.modules.module_set import ModuleSet
from moda_keras.training.modular_loss import ModularLoss


def diagnose(
    modules: ModuleSet,
    x_test: Any = None,
    y_test: Any = None,
    *,
    history: Any = None,
    subtask_rows: Sequence[Mapping[str, Any]] | str | Path | None = None,
    modular_loss: ModularLoss | None = None,
    seed: int = 0,
) -> list[Finding]:
    """Checks modules for the known signs of bad training, too little data or a bad threshold.

    Checks that need missing evidence (test data, history, counts of `decompose`) are skipped.
    `CHECKS` lists all of them.

    Args:
        modules: The modules.
        x_test: Test data, anything that `fit` takes: an array of N samples, a list or dict of
            arrays, or a dataset of batches `(inputs, labels)`, which is read into memory.
        y_test: Labels: integers (N,), one-hot (N, C) or class names (N,); None if `x_test` is a
            dataset.
        history: What `fit` with a `modular_loss` returned, its `history` dict, or the path of a
            file that `keras.callbacks.CSVLogger` wrote.
        subtask_rows: What `moda_keras.metrics.sweep_subtasks` returned, or the path of its
            file. By default a sample of sub-tasks is measured on the test data.
        modular_loss: The loss of the training, for the names and weights of its objectives. By
            default that of the compiled model, or `MODALoss()` if there is none.
        seed: Seed of the sample of sub-tasks.

    Returns:
        List of `Finding`s, problems first; empty if no sign was found.

    Raises:
        ValueError: If an argument is invalid.

    Examples:
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


def find_signs(evidence: Evidence) -> list[Finding]:
    """The findings of all checks for which there is evidence, problems first.

    Args:
        evidence: What to check.

    Returns:
        List of `Finding`s.
    """
    found = [f for check in CHECKS if evidence.has(check.needs) for f in check.find(evidence)]
    return Findings(sorted(found, key=lambda finding: finding.severity != "problem"))
