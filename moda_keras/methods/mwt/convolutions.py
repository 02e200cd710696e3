"""Finds the convolutions of a model whose kernels MwT masks, and where the masks go."""

from collections import Counter
from dataclasses import dataclass

import keras

from moda_keras.graph import Graph, Step, Tensor, activation_name

# One kernel for each output channel. The filters of depthwise convolutions go with their inputs.
_CONVOLUTIONS = (
    keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D,
    keras.layers.SeparableConv1D, keras.layers.SeparableConv2D,
)  # fmt: skip
NORMALIZATIONS = (keras.layers.BatchNormalization, keras.layers.GroupNormalization)


@dataclass(frozen=True, eq=False)
class Convolution:
    """A call of a convolution whose kernels are no class logits.

    Attributes:
        step: The call.
        masked: The tensor that its mask multiplies: the output of its normalization, or else its
            own, taken before its activation.
        is_first: Whether it reads the model's input, with no convolution between. Such kernels have
            no mask.
    """

    step: Step
    masked: Tensor
    is_first: bool

    @property
    def layer(self) -> keras.layers.Layer:
        """The convolution."""
        return self.step.operation

    @property
    def splits_activation(self) -> bool:
        """Whether the mask goes between the convolution and the activation that is part of it.

        Not of a layer whose `call` is not Keras's: the mask multiplies what it puts out.
        """
        is_own = self.masked is self.step.outputs[0]
        return is_own and activation_name(self.layer) != "linear"


def find_convolutions(graph: Graph, on_logit_path: set[Tensor]) -> list[Convolution]:
    """The convolutions of a model, in the order of execution.

    Args:
        graph: The graph of the model.
        on_logit_path: The tensors that lead to the output class by class. A convolution that makes
            one of them is an output layer.

    Returns:
        List of `Convolution`.

    Raises:
        ValueError: If a convolution is called several times.
    """
    behind: set[Tensor] = set()
    found = []
    for step in graph.steps:
        is_fed = any(tensor in behind for tensor in step.inputs)
        is_convolution = isinstance(step.operation, _CONVOLUTIONS)
        if is_convolution and step.outputs[0] not in on_logit_path:
            found.append(Convolution(step, _masked_tensor(graph, step), not is_fed))
        if is_fed or is_convolution:
            behind.update(step.outputs)
    _require_one_call_each(found)
    return found


def _require_one_call_each(found: list[Convolution]) -> None:
    calls = Counter(convolution.layer for convolution in found)
    shared = [layer.name for layer, number in calls.items() if number > 1]
    if shared:
        raise ValueError(
            "Expected convolutions that are called once each: a kernel is relevant or not, and may "
            f"be both in two calls. Received: the convolutions {shared} with several calls"
        )


def _masked_tensor(graph: Graph, step: Step) -> Tensor:
    """The output of the normalization that follows, perhaps after an activation; or the step's."""
    tensor = step.outputs[0]
    for _ in range(2):
        reader = _only_reader(graph, tensor)
        if reader is None:
            break
        if _is_own_normalization(graph, reader):
            return reader.outputs[0]
        has_weights = bool(getattr(reader.operation, "weights", ()))
        if has_weights or activation_name(reader.operation) == "linear":
            break
        tensor = reader.outputs[0]
    return step.outputs[0]


def _only_reader(graph: Graph, tensor: Tensor) -> Step | None:
    readers = [step for step in graph.steps if tensor in step.inputs]
    return readers[0] if len(readers) == 1 and tensor not in graph.outputs else None


def _is_own_normalization(graph: Graph, step: Step) -> bool:
    layer, source = step.operation, step.inputs[0]
    if not isinstance(layer, NORMALIZATIONS):
        return False
    is_of_channels = layer.axis % len(source.shape) == source.channel_axis
    return is_of_channels and sum(each.operation is layer for each in graph.steps) == 1
