"""What follows a projection: normalizations, the sum that it completes, and a ReLU.

In a residual block one summand makes up for what the others lack. Before a ReLU, a layer need not
be exact where the ReLU gives zero.
"""

from collections import defaultdict
from dataclasses import dataclass, field

import keras
import numpy as np

from moda_keras.graph import Graph, Step, Tensor, activation_name, kind_of


@dataclass(eq=False)
class Follower:
    """The steps behind a projection, each the only reader of the one before.

    Attributes:
        norms: The steps of batch normalizations.
        add: The step of the sum of which the projection is the last summand to be computed, or
            None.
        place: Which input of the sum it is.
        is_rectified: Whether a ReLU comes next.
    """

    norms: list[Step] = field(default_factory=list)
    add: Step | None = None
    place: int = 0
    is_rectified: bool = False


def find_followers(graph: Graph, projections: set[Step]) -> dict[Step, Follower]:
    """What follows each of the projections.

    Args:
        graph: The graph of the original.
        projections: Its steps that project.

    Returns:
        Dict from the step of the projection.
    """
    readers: dict[Tensor, list[Step]] = defaultdict(list)
    for step in graph.steps:
        for tensor in step.inputs:
            readers[tensor].append(step)
    for tensor in graph.outputs:
        readers[tensor] *= 2  # it is read from outside too
    made = {tensor: i for i, step in enumerate(graph.steps) for tensor in step.outputs}
    return {step: _follower(step, readers, made) for step in projections}


def _follower(projection: Step, readers: dict, made: dict[Tensor, int]) -> Follower:
    found = Follower()
    name = activation_name(projection.operation)
    if name != "linear":
        found.is_rectified = is_relu(projection)
        return found
    tensor = projection.outputs[0]
    reader = _only(readers[tensor])
    while reader is not None and is_batch_norm(reader):
        found.norms.append(reader)
        tensor = reader.outputs[0]
        reader = _only(readers[tensor])
    if reader is not None and _is_sum(reader):
        others = [other for other in reader.inputs if other is not tensor]
        start = made[projection.outputs[0]]
        if len(others) < len(reader.inputs) - 1 or any(made.get(o, -1) > start for o in others):
            return found
        found.add, found.place = reader, reader.inputs.index(tensor)
        reader = _only(readers[reader.outputs[0]])
    found.is_rectified = reader is not None and is_relu(reader)
    return found


def _only(readers: list[Step]) -> Step | None:
    return readers[0] if len(readers) == 1 else None


def _is_sum(step: Step) -> bool:
    """Whether a step adds up tensors of one shape."""
    shapes = {tensor.shape for tensor in step.inputs}
    is_add = isinstance(step.operation, keras.layers.Add) or kind_of(step.operation) == "Add"
    return is_add and len(step.inputs) > 1 and len(shapes) == 1


def is_batch_norm(step: Step) -> bool:
    """Whether a step is Keras's own batch normalization of the channels."""
    layer = step.operation
    if type(layer) is not keras.layers.BatchNormalization or len(step.inputs) != 1:
        return False
    return layer.axis % len(step.inputs[0].shape) == step.inputs[0].channel_axis


def is_relu(step: Step) -> bool:
    """Whether a step is, or ends in, a plain ReLU."""
    layer = step.operation
    if isinstance(layer, keras.layers.ReLU) or kind_of(layer) == "ReLU":
        return layer.max_value is None and not layer.negative_slope and not layer.threshold
    activation = getattr(layer, "activation", None)
    if kind_of(layer) == "Relu":
        return True
    return activation is keras.activations.relu and activation_name(layer) == "relu"


def affine_of(norms: list[Step], channels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Factor and shift of normalizations one after the other.

    Args:
        norms: Steps of the original.
        channels: Int array, the channels.

    Returns:
        Two float64 arrays, one number for each channel.
    """
    scale, shift = np.ones(len(channels)), np.zeros(len(channels))
    for step in norms:
        layer = step.operation
        factor = 1 / np.sqrt(_read(layer.moving_variance, channels) + layer.epsilon)
        if layer.scale:
            factor = factor * _read(layer.gamma, channels)
        scale = scale * factor
        shift = (shift - _read(layer.moving_mean, channels)) * factor
        if layer.center:
            shift = shift + _read(layer.beta, channels)
    return scale, shift


def _read(weight, channels: np.ndarray) -> np.ndarray:
    return keras.ops.convert_to_numpy(weight).astype("float64")[channels]
