"""Sums, as in residual blocks: one summand makes up for what the others lack."""

from collections import Counter
from dataclasses import dataclass

import keras
import numpy as np

from moda_keras.graph import Graph, Step, Tensor, kind_of


@dataclass(frozen=True, eq=False)
class Summand:
    """A projection that ends in a sum, perhaps through normalizations.

    Attributes:
        add: The step of the sum.
        place: Which of its inputs comes from the projection.
        norms: The steps of the batch normalizations between.
    """

    add: Step
    place: int
    norms: list[Step]


def find_summands(graph: Graph, projections: set[Step]) -> dict[Step, Summand]:
    """The projection of every sum that is computed when all other summands are there.

    Args:
        graph: The graph of the original.
        projections: Its steps that project.

    Returns:
        Dict from the step of the projection.
    """
    producers = {tensor: step for step in graph.steps for tensor in step.outputs}
    order = {step: index for index, step in enumerate(graph.steps)}
    readers = Counter(tensor for step in graph.steps for tensor in step.inputs)
    found = {}
    for add in graph.steps:
        if not _is_sum(add):
            continue
        sources = [_source(t, producers, readers) for t in add.inputs]
        places = [i for i, (step, _) in enumerate(sources) if step in projections]
        if not places:
            continue
        last = max(places, key=lambda i: order[sources[i][0]])
        step, norms = sources[last]
        others = [producers.get(t) for i, t in enumerate(add.inputs) if i != last]
        if all(other is None or order[other] < order[step] for other in others):
            found[step] = Summand(add, last, norms)
    return found


def _is_sum(step: Step) -> bool:
    """Whether a step adds up tensors of one shape."""
    shapes = {tensor.shape for tensor in step.inputs}
    is_add = isinstance(step.operation, keras.layers.Add) or kind_of(step.operation) == "Add"
    return is_add and len(step.inputs) > 1 and len(shapes) == 1


def _source(tensor: Tensor, producers: dict, readers: Counter) -> tuple[Step | None, list[Step]]:
    """The step before the normalizations that lead to a tensor, if nobody else reads them."""
    norms: list[Step] = []
    step = producers.get(tensor)
    while step is not None and readers[tensor] == 1 and is_batch_norm(step):
        norms.append(step)
        tensor = step.inputs[0]
        step = producers.get(tensor)
    return (step if readers[tensor] == 1 else None), norms


def is_batch_norm(step: Step) -> bool:
    """Whether a step is Keras's own batch normalization of the channels."""
    layer = step.operation
    if type(layer) is not keras.layers.BatchNormalization or len(step.inputs) != 1:
        return False
    return layer.axis % len(step.inputs[0].shape) == step.inputs[0].channel_axis


def scale_of(norms: list[Step]) -> np.ndarray | float:
    """By what normalizations multiply each channel of the original, float64 (channels,)."""
    scale: np.ndarray | float = 1.0
    for step in norms:
        layer = step.operation
        variance = keras.ops.convert_to_numpy(layer.moving_variance).astype("float64")
        scale = scale / np.sqrt(variance + layer.epsilon)
        if layer.scale:
            scale = scale * keras.ops.convert_to_numpy(layer.gamma)
    return scale
