"""The norms of the weights that read each unit."""

import keras
import numpy as np

from moda_keras.graph import Step, named_weights
from moda_keras.slicing.channels import Channels
from moda_keras.slicing.groups import fed_channels
from moda_keras.slicing.registry import Rule
from moda_keras.slicing.rules.opaque import Opaque
from moda_keras.slicing.rules.reshaping import Reshaping
from moda_keras.slicing.slicer import Slicer


def outgoing_norms(slicer: Slicer) -> dict[str, np.ndarray]:
    """The L2 norm of the weights that read each unit of the hidden activations.

    It is that of the weights of layers which mix channels, also behind layers that do not. Layers
    whose inner weights are not visible, such as attention over whole vectors, count nothing.

    Args:
        slicer: Of the model.

    Returns:
        Dict from activation name to a float64 array (D,); 1 for the units of an activation of which
        no weights are found.
    """
    graph = slicer.graph
    tensors = [*graph.inputs, *(tensor for step in graph.steps for tensor in step.outputs)]
    squares = {tensor: np.zeros(tensor.channels or 1) for tensor in tensors}
    for step in reversed(graph.steps):
        rule = slicer.rules[step]
        behind = np.concatenate([squares[tensor] for tensor in step.outputs])
        for position, tensor in enumerate(step.inputs):
            squares[tensor] += _passed(rule, step, position, behind)
            squares[tensor] += _read(rule, step, position)
    found = dict.fromkeys(slicer.units, 0.0)
    for tensor, name in slicer.hidden.items():
        found[name] = found[name] + squares[tensor]
    return {
        name: np.sqrt(values) if values.any() else np.ones_like(values)
        for name, values in found.items()
    }


def _passed(rule: Rule, step: Step, position: int, behind: np.ndarray) -> np.ndarray:
    """What lies behind the outputs that come from one channel each."""
    if isinstance(rule, Reshaping):
        return np.bincount(rule.origins(step), behind, minlength=step.inputs[0].channels)
    fed = fed_channels(rule, step)[position]
    return np.where(fed >= 0, behind[fed], 0.0)


def _read(rule: Rule, step: Step, position: int) -> np.ndarray:
    """The sum of squares of the layer's own weights that read each channel, where it mixes them."""
    tensor = step.inputs[position]
    length = tensor.channels or 1
    total = np.zeros(length)
    is_mixed = fed_channels(rule, step)[position] < 0
    if isinstance(rule, Opaque) or not is_mixed.any() or not getattr(step.operation, "weights", ()):
        return total
    whole, part = (_sliced(rule, step, position, kept) for kept in (np.arange(length), [0]))
    for name, weight in named_weights(step.operation):
        for axis, indices in whole.get(name, {}).items():
            one = part.get(name, {}).get(axis)
            if one is None or len(one) * length != len(indices):
                continue
            squares = np.square(keras.ops.convert_to_numpy(weight).astype("float64"))
            squares = np.moveaxis(squares, axis, 0).reshape(length, -1).sum(axis=1)
            total += np.where(is_mixed, squares, 0.0)
    return total


def _sliced(rule: Rule, step: Step, position: int, kept) -> dict[str, dict[int, np.ndarray]]:
    """The kept indices of each weight by axis, if of one input only the channels `kept` are."""
    inputs = [Channels.full(tensor.channels or 1) for tensor in step.inputs]
    inputs[position] = inputs[position].exactly(np.asarray(kept))
    wanted = [np.arange(tensor.channels or 1) for tensor in step.outputs]
    decision = rule.slice(step, inputs, wanted if rule.several_outputs else wanted[0])
    return {name: weight.axes for name, weight in decision.weights.items()}
