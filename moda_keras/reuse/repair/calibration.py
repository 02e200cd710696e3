"""Calibration data: samples without labels, as batches of what goes into a model's graph."""

import itertools
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from moda_keras.graph import entry_of, inputs_and_outputs
from moda_keras.observing.labelled_arrays import is_dataset, take_samples

FEW = 2


def calibration_batches(model: keras.Model, x: Any, batch_size: int = 32) -> list[list[Any]]:
    """Calibration data as it goes into the graph of a model.

    Args:
        model: The original model.
        x: Array of N samples; a list or dict of arrays for a model of several inputs; or a dataset
            that yields batches of inputs, alone or first in a tuple.
        batch_size: Samples of a batch, if `x` holds arrays.

    Returns:
        For each batch the tensors of the model's inputs, in a flat list.

    Raises:
        ValueError: If there are fewer than two samples, their shape is not that of the model's
            inputs, or a value is NaN or infinite.
    """
    batches = _batches_of_dataset(x) if is_dataset(x) else _batches_of_arrays(x, batch_size)
    entry = entry_of(model)
    found: list[list[Any]] = []
    samples = 0
    for batch in batches:
        _check(model, batch)
        found.append(keras.tree.flatten(entry(_as_structured(batch, model))))
        samples += len(keras.tree.flatten(batch)[0])
    if samples < FEW:
        raise ValueError(
            f"Expected `calibration_data` of at least {FEW} samples; some hundred serve well. "
            f"Received: {samples}"
        )
    return found


def calibration_arrays(x: Any) -> Any:
    """Calibration data as arrays, to be used several times.

    Args:
        x: As of `calibration_batches`.

    Returns:
        Array of N samples, or a list or dict of arrays.
    """
    if not is_dataset(x):
        return x
    batches = list(_batches_of_dataset(x))
    return (
        keras.tree.map_structure(lambda *parts: np.concatenate(parts), *batches) if batches else []
    )


def _batches_of_arrays(x: Any, size: int) -> Iterable[Any]:
    x = keras.tree.map_structure(np.asarray, x) if _is_structure(x) else np.asarray(x)
    lengths = {len(each) if np.ndim(each) else None for each in keras.tree.flatten(x)}
    if len(lengths) != 1 or None in lengths:
        raise ValueError(
            "Expected `calibration_data` to be an array of samples, or a list or dict of arrays "
            f"with one number of samples. Received: arrays of {sorted(map(str, lengths))} samples"
        )
    (length,) = lengths
    # The last batch takes the rest: a batch of another size would be compiled again.
    edges = [*range(0, max(length - size + 1, 1), size), length]
    return (take_samples(x, slice(*ends)) for ends in itertools.pairwise(edges) if ends[1])


def _batches_of_dataset(dataset: Any) -> Iterable[Any]:
    if isinstance(dataset, keras.utils.PyDataset):
        if dataset.num_batches is None:
            raise ValueError(
                "Expected `calibration_data` with an end. Received: a PyDataset without one"
            )
        dataset = (dataset[index] for index in range(dataset.num_batches))
    for batch in dataset:
        x = batch[0] if isinstance(batch, tuple) else batch
        yield keras.tree.map_structure(keras.ops.convert_to_numpy, x)


def _as_structured(batch: Any, model: keras.Model) -> Any:
    """A single input as the model has it: models of old files take it in a list."""
    flat = keras.tree.flatten(batch)
    return (
        keras.tree.pack_sequence_as(inputs_and_outputs(model)[0], flat) if len(flat) == 1 else batch
    )


def _is_structure(x: Any) -> bool:
    is_list = isinstance(x, (list, tuple))
    return isinstance(x, dict) or (is_list and any(hasattr(each, "shape") for each in x))


def _check(model: keras.Model, batch: Any) -> None:
    received = [np.shape(values) for values in keras.tree.flatten(batch)]
    expected = [tuple(tensor.shape) for tensor in model.inputs]
    if len(received) != len(expected) or not all(map(_fits, received, expected)):
        has_labels = len(received) == len(expected) + 1
        raise ValueError(
            f"Expected `calibration_data` of the shapes of the model's inputs, {expected}. "
            f"Received: {received}{'. Leave labels out: pass `x`' if has_labels else ''}"
        )
    for values in keras.tree.flatten(batch):
        if np.asarray(values).dtype.kind == "f" and not np.isfinite(values).all():
            raise ValueError(
                "Expected finite `calibration_data`. Received: data with NaN or infinity. Remove "
                "or replace these values"
            )


def _fits(received: tuple, expected: tuple) -> bool:
    if len(received) + 1 == len(expected) and expected[-1] == 1:
        expected = expected[:-1]  # Keras adds a last axis of length one
    pairs = zip(received[1:], expected[1:], strict=False)
    return len(received) == len(expected) and all(known in (None, n) for n, known in pairs)
