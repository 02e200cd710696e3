"""Reads training logs from a `History`, a dict or a CSV file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from moda_keras.files import read_table
from moda_keras.training.moda_loss import MODALoss


def read_history(
    history: Any, objective_names: Sequence[str] = MODALoss.objective_names
) -> dict[str, list[float]]:
    """The logs of training, epoch by epoch.

    Args:
        history: What `fit` returned, its `history` dict, or the path of a file that
            `keras.callbacks.CSVLogger` wrote.
        objective_names: The objectives that the training logged, as of its `ModularLoss`.

    Returns:
        Dict from the name of a log to one float per epoch; values not logged are NaN.

    Raises:
        ValueError: If it is something else, has no objectives, or logs of different lengths.
    """
    if isinstance(history, keras.callbacks.History):
        history = history.history
    if isinstance(history, (str, Path)):
        history = _read_csv(Path(history))
    if not isinstance(history, Mapping):
        raise ValueError(
            "Expected `history` to be what `fit` returned, its dict, or the path of a CSVLogger's "
            f"file. Received: history={history!r}"
        )
    compared = (*objective_names, "loss")
    missing = [name for name in compared if not len(history.get(name, ()))]
    if missing:
        raise ValueError(
            "Expected `history` to have the logs of a training with `modular_loss`. Received: "
            f"{sorted(history)}, without {missing}"
        )
    epochs = {name: len(history[name]) for name in (*compared, "task_loss") if name in history}
    if len(set(epochs.values())) > 1:
        raise ValueError(
            "Expected `history` to have one value for each epoch in every log. Received logs of "
            f"different lengths: {epochs}"
        )
    return {name: _numbers(values) for name, values in history.items()}


def _read_csv(path: Path) -> dict[str, list[str | None]]:
    rows = read_table(path)
    return {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}


def _numbers(values: Sequence[Any]) -> list[float]:
    return [_number(value) for value in values]


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")
