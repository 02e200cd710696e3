"""Validates slicing requests and the results of registered rules."""

from collections.abc import Mapping
from numbers import Integral
from typing import Any

import keras
import numpy as np

from moda_keras.graph import Step, is_keras_class
from moda_keras.slicing.registry import Rule, Slice


def check_units(units: Mapping[str, np.ndarray], known: Mapping[str, int]) -> dict[str, np.ndarray]:
    """`units` as bool arrays; a ValueError if a name or a shape is not one of `known`."""
    masks = {name: np.asarray(mask).astype(bool) for name, mask in units.items()}
    for name, mask in masks.items():
        if name not in known:
            raise ValueError(
                f"Unknown hidden activation in `units`. Expected names from {list(known)}. "
                f"Received: {name!r}"
            )
        if mask.shape != (known[name],):
            raise ValueError(
                f"Expected `units[{name!r}]` to be a bool array of shape {(known[name],)}. "
                f"Received: an array of shape {mask.shape}"
            )
    return masks


def check_outputs(outputs: np.ndarray, classes: int) -> np.ndarray:
    """`outputs` as an array; a ValueError if it is not one of class indices."""
    indices = np.asarray(outputs)
    is_valid = indices.ndim == 1 and indices.size and np.issubdtype(indices.dtype, np.integer)
    if not is_valid or indices.min() < 0 or indices.max() >= classes:
        raise ValueError(
            f"Expected `outputs` to be a non-empty array of integers from 0 to {classes - 1}. "
            f"Received: outputs={outputs}"
        )
    return indices


def check_align(align: int) -> int:
    """`align`; a ValueError if it is no positive integer."""
    if not isinstance(align, Integral) or isinstance(align, bool) or align < 1:
        raise ValueError(f"Expected `align` to be a positive integer. Received: align={align!r}")
    return int(align)


def check_call(layer: Any, results: list[Any]) -> None:
    """Raises a ValueError if a layer's `__call__` does more than Keras's, such as an operation.

    Keras would record that operation, and `__call__` would do it again when the model runs.
    """
    if not isinstance(layer, keras.layers.Layer) or is_keras_class(type(layer)):
        return
    if any(each._keras_history.operation is not layer for each in results):
        raise ValueError(
            f"Layer {layer.name!r} of class {type(layer).__name__} cannot be part of a new model: "
            "expected a layer that computes in its `call` alone. Received: one whose `__call__` "
            "changes what `call` returns. Move that into `call`"
        )


def check_needs(rule: Rule, step: Step, reads: list[np.ndarray]) -> None:
    """Raises a ValueError that names the rule if the result of its `needs` is invalid."""
    expected = [(tensor.channels or 1,) for tensor in step.inputs]
    received = [np.shape(mask) for mask in reads]
    if received != expected:
        raise ValueError(
            f"The slicing rule {type(rule).__name__!r} returned from `needs` masks of wrong shapes "
            f"for {step.name!r}. Expected: {expected}. Received: {received}"
        )


def check_slice(rule: Rule, step: Step, decision: Slice) -> None:
    """Raises a ValueError that names the rule if its `slice` cannot be."""
    expected = [[tensor.channels or 1 for tensor in side] for side in (step.inputs, step.outputs)]
    received = [
        [channels.size for channels in side] for side in (decision.inputs, decision.outputs)
    ]
    if received != expected:
        raise ValueError(
            f"The slicing rule {type(rule).__name__!r} returned from `slice` inputs or an output "
            f"of the wrong number of channels for {step.name!r}. Expected: {expected[0]} and "
            f"{expected[1]}. Received: {received[0]} and {received[1]}"
        )
    for each in [*decision.inputs, *decision.outputs]:
        if not len(each.kept) or each.kept.min() < 0 or each.kept.max() >= each.size:
            raise ValueError(
                f"The slicing rule {type(rule).__name__!r} returned from `slice` impossible kept "
                f"channels for {step.name!r}. Expected: at least one index from 0 to "
                f"{each.size - 1}. Received: {each.kept}"
            )
