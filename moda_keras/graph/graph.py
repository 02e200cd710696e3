"""A traced model: tensors and the steps between them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import keras


class Tensor:
    """An edge of a `Graph`.

    Attributes:
        keras_tensor: The `keras.KerasTensor` of the traced model.
        shape: Tuple of int or None, batch axis first.
        channel_axis: Positive int, the axis that holds units or channels.
    """

    __slots__ = ("channel_axis", "keras_tensor", "shape")

    def __init__(self, keras_tensor: keras.KerasTensor, channel_axis: int):
        self.keras_tensor = keras_tensor
        self.shape = tuple(keras_tensor.shape)
        self.channel_axis = channel_axis

    @property
    def channels(self) -> int:
        """Length of the channel axis; 1 for a tensor of rank 0 or 1."""
        return self.shape[self.channel_axis] if len(self.shape) > 1 else 1

    def __repr__(self) -> str:
        return f"<Tensor {self.keras_tensor.name} shape={self.shape}>"


@dataclass(eq=False)
class Step:
    """One call of an operation: a node of a `Graph`.

    Attributes:
        operation: The Keras layer or operation.
        args, kwargs: Its call arguments, with a `Tensor` wherever a tensor goes in.
        outputs: The tensors that come out, flat.
        name: Name of the step; by default that of the operation.
    """

    operation: Any
    args: tuple
    kwargs: dict
    outputs: list[Tensor]
    name: str = ""

    def __post_init__(self):
        self.name = self.name or self.operation.name
        flat = keras.tree.flatten((self.args, self.kwargs))
        self.inputs = [leaf for leaf in flat if isinstance(leaf, Tensor)]

    def arguments(self, values: dict) -> tuple[tuple, dict]:
        """The call arguments with each `Tensor` replaced by `values[tensor]`."""

        def substitute(leaf):
            return values[leaf] if isinstance(leaf, Tensor) else leaf

        return (
            keras.tree.map_structure(substitute, self.args),
            keras.tree.map_structure(substitute, self.kwargs),
        )


@dataclass(eq=False)
class Graph:
    """A model as inputs, outputs and the steps between, in the order of execution.

    Attributes:
        inputs, outputs: The tensors that go in and come out, flat.
        steps: The calls between them.
        model: The Keras model that was traced; None for a part of its graph.
        opaque: The composite layers that stay one operation, each with the reason, in words that
            follow "because".
        masks: By tensor, the mask of time steps that Keras sends along: a bool tensor, False where
            there is padding. Some are made by `mask_steps`.
        mask_steps: Calls that make masks which no other step reads.
    """

    inputs: list[Tensor]
    outputs: list[Tensor]
    steps: list[Step]
    model: keras.Model | None = None
    opaque: dict[Any, str] = field(default_factory=dict)
    masks: dict[Tensor, Tensor] = field(default_factory=dict)
    mask_steps: list[Step] = field(default_factory=list)

    def run(
        self,
        inputs: list,
        call: Callable[[Step, tuple, dict], Any] | None = None,
        transform: Callable[[Tensor, Any], Any] | None = None,
    ) -> dict[Tensor, Any]:
        """Executes the graph on real or symbolic tensors.

        Args:
            inputs: One value per graph input.
            call: Called as `call(step, args, kwargs)` in place of the step's operation.
            transform: Called as `transform(tensor, value)` on every value a step produces; what it
                returns is what later steps read.

        Returns:
            The value of every tensor of the graph.
        """
        values = dict(zip(self.inputs, inputs, strict=True))
        for step in self.steps:
            args, kwargs = step.arguments(values)
            result = call(step, args, kwargs) if call else step.operation(*args, **kwargs)
            for tensor, value in zip(step.outputs, keras.tree.flatten(result), strict=True):
                values[tensor] = transform(tensor, value) if transform else value
        return values

    def run_masks(self, values: dict[Tensor, Any], tensors: Iterable[Tensor]) -> dict[Tensor, Any]:
        """The masks of time steps that come along with some tensors.

        Args:
            values: From `run`.
            tensors: The tensors.

        Returns:
            Dict from tensor to bool mask, for those that have one.
        """
        wanted = {tensor: self.masks[tensor] for tensor in tensors if tensor in self.masks}
        known = dict(values)
        for step in self._steps_to(set(wanted.values())):
            args, kwargs = step.arguments(known)
            result = keras.tree.flatten(step.operation(*args, **kwargs))
            known.update(zip(step.outputs, result, strict=True))
        return {tensor: known[mask] for tensor, mask in wanted.items()}

    def _steps_to(self, tensors: set[Tensor]) -> list[Step]:
        """Those of `mask_steps` that `tensors` are made by."""
        found = []
        for step in reversed(self.mask_steps):
            if not tensors.isdisjoint(step.outputs):
                found.append(step)
                tensors.update(step.inputs)
        return found[::-1]
