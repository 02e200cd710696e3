"""Multiply-accumulates of a model."""

import math
import warnings
from collections.abc import Iterable

import keras

from moda_keras.graph import Step, labels_of_einsum_dense, trace
from moda_keras.slicing.plan import Plan

_PER_OUTPUT_POSITION = (
    keras.layers.Dense, keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D,
    keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
)  # fmt: skip
_PER_INPUT_POSITION = (
    keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose,
    keras.layers.EinsumDense,
)  # fmt: skip
_NO_MULTIPLICATION = (keras.layers.Embedding, keras.layers.PReLU, keras.layers.Normalization)


def count_flops(model: keras.Model) -> int:
    """Multiply-accumulates of one sample's forward pass through convolutions and dense layers.

    A multiply-accumulate counts as one operation, as in fvcore. Element-wise operations
    (activations, normalization, pooling, biases) are not counted.

    Args:
        model: A built Functional or Sequential model whose input shape is fixed.

    Returns:
        Int.

    Raises:
        ValueError: If the model has no graph, or an axis other than the batch has unknown size.

    Examples:
        >>> import keras
        >>> import moda_keras as mk
        >>> mk.metrics.count_flops(keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]))
        12
    """
    return sum(flops_by_layer(model).values())


def flops_by_layer(model: keras.Model) -> dict[str, int]:
    """The multiply-accumulates of each layer that multiplies by weights.

    Args:
        model: A built Functional or Sequential model whose input shape is fixed.

    Returns:
        Dict from layer name to int, in the order of execution.
    """
    flops: dict[str, int] = {}
    for step in trace(model).steps:
        kernels = _kernels(step)
        if kernels:
            count = _positions(step) * sum(math.prod(w.shape) for w in kernels)
            flops[step.name] = flops.get(step.name, 0) + count
    return flops


def planned_flops(plan: Plan) -> int:
    """The multiply-accumulates of the model that `Slicer.build` would build from a plan.

    Args:
        plan: A plan of a model whose input shape is fixed.

    Returns:
        Int.
    """
    kept = {id(weight.variable): weight.size for weight in plan.kept_weights}
    per_element = flops_per_element(planned.step for planned in plan.steps)
    return sum(count * kept[weight] for weight, count in per_element.items())


def flops_per_element(steps: Iterable[Step]) -> dict[int, int]:
    """The number of multiplications by each element of a weight, for one sample.

    Args:
        steps: Steps of a model whose input shape is fixed.

    Returns:
        Dict from the `id` of a weight to an int.
    """
    counts: dict[int, int] = {}
    for step in steps:
        kernels = _kernels(step)
        positions = _positions(step) if kernels else 0
        for weight in kernels:
            counts[id(weight)] = counts.get(id(weight), 0) + positions
    return counts


def _kernels(step: Step) -> list:
    """The weights that the layer multiplies its input by."""
    if isinstance(step.operation, _NO_MULTIPLICATION):
        return []
    weights = getattr(step.operation, "weights", ())
    return [weight for weight in weights if len(weight.shape) > 1 and weight.name != "bias"]


def _positions(step: Step) -> int:
    """The number of positions to which the layer applies its kernels."""
    if isinstance(step.operation, _PER_OUTPUT_POSITION):
        tensor = step.outputs[0]
    elif isinstance(step.operation, (*_PER_INPUT_POSITION, keras.layers.RNN)):
        tensor = step.inputs[0]
    else:
        warnings.warn(
            f"The multiply-accumulates of {step.name!r} (a {type(step.operation).__name__}) are "
            "counted as those of a dense layer.",
            stacklevel=4,
        )
        tensor = step.outputs[0]
    axes = [axis for axis in range(1, len(tensor.shape)) if axis != tensor.channel_axis]
    if isinstance(step.operation, keras.layers.EinsumDense):
        source, kernel, _ = labels_of_einsum_dense(step)
        axes = [axis for axis, label in enumerate(source) if axis and label not in kernel]
    sizes = [tensor.shape[axis] for axis in axes]
    if None in sizes:
        raise ValueError(
            f"Expected a model whose input shape is fixed. Received: shape {tensor.shape} at layer "
            f"{step.name!r}"
        )
    return math.prod(sizes)
