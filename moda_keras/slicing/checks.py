"""Whether what a registered rule returns can be."""

import numpy as np

from moda_keras.graph import Step
from moda_keras.slicing.registry import Rule, Slice


def check_needs(rule: Rule, step: Step, reads: list[np.ndarray]) -> None:
    """Raises a ValueError that names the rule if its `needs` cannot be."""
    expected = [(tensor.channels or 1,) for tensor in step.inputs]
    received = [np.shape(mask) for mask in reads]
    if received != expected:
        raise ValueError(
            f"The slicing rule {type(rule).__name__!r} returned from `needs` masks of wrong shapes "
            f"for {step.name!r}. Expected: {expected}. Received: {received}"
        )


def check_slice(rule: Rule, step: Step, decision: Slice) -> None:
    """Raises a ValueError that names the rule if its `slice` cannot be."""
    expected = [tensor.channels or 1 for tensor in [*step.inputs, step.outputs[0]]]
    channels = [*decision.inputs, decision.output]
    received = [c.size for c in channels]
    if received != expected:
        raise ValueError(
            f"The slicing rule {type(rule).__name__!r} returned from `slice` inputs or an output "
            f"of the wrong number of channels for {step.name!r}. Expected: {expected[:-1]} and "
            f"{expected[-1]}. Received: {received[:-1]} and {received[-1]}"
        )
    for each in channels:
        if not len(each.kept) or each.kept.min() < 0 or each.kept.max() >= each.size:
            raise ValueError(
                f"The slicing rule {type(rule).__name__!r} returned from `slice` impossible kept "
                f"channels for {step.name!r}. Expected: at least one index from 0 to "
                f"{each.size - 1}. Received: {each.kept}"
            )
