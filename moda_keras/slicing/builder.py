"""Builds a Keras model from a plan."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from moda_keras.graph import (
    Step,
    Tensor,
    copy_hidden_state,
    in_structure_of,
    layer_name,
    named_weights,
    new_inputs,
)
from moda_keras.layers.channel_fill import ChannelFill
from moda_keras.layers.modular_activation import ModularActivation
from moda_keras.slicing.checks import check_call
from moda_keras.slicing.copying import copy_operation, set_weights
from moda_keras.slicing.plan import Fill, Plan, PlannedStep
from moda_keras.slicing.rules.opaque import Opaque

# By operation of the original and name of its weight: values in place of the original's.
Weights = Mapping[Any, Mapping[str, np.ndarray]]


@dataclass(frozen=True, eq=False)
class BuiltModel:
    """A sliced model and its parts.

    Attributes:
        model: The functional `keras.Model`; its weights are copies of the original's.
        operation: Gives the new layer or operation of a `PlannedStep`.
        fill: Gives the layer of a `Fill` of a tensor.
        tensor: Gives the new `keras.KerasTensor` of a tensor of the original.
    """

    model: keras.Model
    operation: Callable[[PlannedStep], Any]
    fill: Callable[[Tensor, Fill], Any]
    tensor: Callable[[Tensor], Any]


def build_model(
    plan: Plan,
    *,
    name: str | None = None,
    weights: Weights | None = None,
    keep_marks: bool = False,
) -> BuiltModel:
    """Builds the model of a plan, with the original's input and layer names.

    Args:
        plan: What to build.
        name: Name of the new model.
        weights: Values of the original's shapes in place of some of its weights.
        keep_marks: Whether a `ModularActivation` that passes its input through stays. It only says
            where units are observed, in training and decomposition.

    Returns:
        A `BuiltModel`.

    Raises:
        ValueError: If a registered rule's decision does not fit its layer.
    """
    return _Builder(plan, weights or {}, keep_marks=keep_marks).build(name)


class _Builder:
    def __init__(self, plan: Plan, weights: Weights, *, keep_marks: bool):
        self.plan = plan
        self.keep_marks = keep_marks
        self.weights = weights
        self.names: set[str] = {t.name for t in plan.model.inputs}
        self.copies: dict[Any, Any] = {}
        self.fills: dict[tuple, ChannelFill] = {}
        self.filled: dict[tuple, Any] = {}
        self.values: dict[Tensor, Any] = {}
        self.output_names = _names_of_filled_outputs(plan)
        self.renamed = {tensor for tensor, *_ in self.output_names}

    def build(self, name: str | None) -> BuiltModel:
        inputs = new_inputs(self.plan.model)
        self.values.update(zip(self.plan.graph.inputs, inputs, strict=True))
        for planned in self.plan.steps:
            self.run(planned)
        outputs = self.outputs()
        for planned in self.plan.steps:
            self.set_weights(planned)
        inputs, outputs = in_structure_of(
            self.plan.model, inputs, *(outputs[place] for place in self.plan.places)
        )
        model = keras.Model(inputs, outputs, name=name)
        model(inputs)  # Keras's exporters refuse a model that was never called
        return BuiltModel(
            model,
            operation=self.operation,
            fill=lambda tensor, fill: self.fills[(tensor, *fill.key)],
            tensor=self.values.__getitem__,
        )

    def outputs(self) -> list[Any]:
        """The values of the graph's outputs: the chosen classes, and the others whole."""
        tensors = zip(self.plan.graph.outputs, self.plan.output_fills, strict=True)
        (first, fill), *others = tensors
        logits = self.activate(self.fill(first, fill, "logits"))
        return [logits, *(self.fill(tensor, fill, "output") for tensor, fill in others)]

    def activate(self, logits: Any) -> Any:
        """Applies the output activation, if the plan has taken it off its layer."""
        step = self.plan.appended
        if step is None:
            return logits
        layer = step.operation
        name = layer_name(f"{step.name}_activation", self.names)
        # Not the layer's dtype policy, which may be that of a quantized layer.
        return keras.layers.Activation(layer.activation, dtype=layer.compute_dtype, name=name)(
            logits
        )

    def run(self, planned: PlannedStep) -> None:
        """Calls the new layer of a step."""
        step = planned.step
        fed = [
            self.fill(tensor, fill, step.name)
            for tensor, fill in zip(step.inputs, planned.fills, strict=True)
        ]
        if self.is_left_out(step):
            self.values[step.outputs[0]] = fed[0]
            return
        args, kwargs = call_arguments(step, fed)
        operation = self.operation(planned)
        results = keras.tree.flatten(operation(*args, **kwargs))
        check_call(operation, results)
        self.values.update(zip(step.outputs, results, strict=True))
        for tensor, channels, value in zip(
            step.outputs, planned.slice.outputs, results, strict=True
        ):
            _check_output(planned, tensor, channels.kept, value)

    def is_left_out(self, step: Step) -> bool:
        """Whether a step only marks a tensor, and marks are not kept."""
        is_mark = isinstance(step.operation, ModularActivation) and step.operation.passes_through
        return is_mark and not self.keep_marks

    def operation(self, planned: PlannedStep) -> Any:
        """The new layer of a step: a copy for every call, or one for all if it has weights."""
        original = planned.step.operation
        key = original if getattr(original, "weights", ()) else planned.step
        if key not in self.copies:
            is_renamed = not self.renamed.isdisjoint(planned.step.outputs)
            name = f"{planned.step.name}_units" if is_renamed else planned.step.name
            name = layer_name(name, self.names)
            self.copies[key] = copy_operation(original, name, **planned.slice.config)
        return self.copies[key]

    def fill(self, tensor: Tensor, fill: Fill | None, reader: str) -> Any:
        """The value of a tensor after its fill; equal fills of one tensor are made once."""
        skipped = self.plan.skipped
        if skipped and tensor is skipped.outputs[0]:
            tensor = skipped.inputs[0]
        value = self.values[tensor]
        if fill is None:
            return value
        key = (tensor, *fill.key)
        if key not in self.filled:
            name = self.output_names.get(key, f"{reader}_channels")
            layer = ChannelFill(
                fill.sources.tolist(),
                fill.values.tolist(),
                axis=tensor.channel_axis if len(tensor.shape) else -1,
                name=layer_name(name, self.names),
            )
            self.fills[key] = layer
            self.filled[key] = layer(value)
        return self.filled[key]

    def set_weights(self, planned: PlannedStep) -> None:
        """Gives a new layer its part of the original's weights."""
        original = planned.step.operation
        if self.is_left_out(planned.step):
            return
        layer = self.copies.get(original)
        is_whole = isinstance(planned.rule, Opaque) and not planned.slice.config
        copy_hidden_state(layer or self.copies[planned.step], original, is_whole=is_whole)
        if layer is None:
            return
        values = _sliced_weights(planned, layer, self.weights.get(original, {}))
        expected = [tuple(weight.shape) for weight in layer.weights]
        received = [value.shape for value in values]
        if received != expected and is_whole:
            raise ValueError(
                f"Layer {original.name!r} of class {type(original).__name__} cannot be copied: a "
                f"layer of its config has weights of the shapes {expected}. Received: weights of "
                f"the shapes {received}. Make the layer anew, with the weights that it shall have"
            )
        if received != expected:
            raise ValueError(
                f"The slicing rule {type(planned.rule).__name__!r} returned for "
                f"{planned.step.name!r} weights that do not fit its config. Expected shapes: "
                f"{expected}. Received: {received}"
            )
        set_weights(layer, original, values)


def _names_of_filled_outputs(plan: Plan) -> dict[tuple, str]:
    """Names of the layers that end in an output, of several: those of the original.

    Keras calls the outputs in a list by them, in losses and metrics.
    """
    if len(plan.places) == 1:
        return {}
    makers = {tensor: p.step.name for p in plan.steps for tensor in p.step.outputs}
    outputs = zip(plan.graph.outputs, plan.output_fills, strict=True)
    return {(t, *fill.key): makers[t] for t, fill in outputs if fill and t in makers}


def call_arguments(step: Step, values: list) -> tuple[tuple, dict]:
    """The arguments of a step's call. One tensor may go in twice, filled in two ways."""
    arguments = (step.args, step.kwargs)
    remaining = iter(values)
    flat = [
        next(remaining) if isinstance(leaf, Tensor) else leaf
        for leaf in keras.tree.flatten(arguments)
    ]
    return keras.tree.pack_sequence_as(arguments, flat)


def _check_output(planned: PlannedStep, tensor: Tensor, kept: np.ndarray, value: Any) -> None:
    expected = list(tensor.shape)
    if len(expected) > 1 and tensor.channels:
        expected[tensor.channel_axis] = len(kept)
    # Some operations leave lengths open that are known.
    received = [
        known if n is None else n for n, known in zip(value.shape, tensor.shape, strict=False)
    ]
    if received != expected:
        raise ValueError(
            f"The slicing rule {type(planned.rule).__name__!r} returned for "
            f"{planned.step.name!r} a layer with the wrong output shape. Expected: "
            f"{tuple(expected)}. Received: {tuple(value.shape)}"
        )


def _sliced_weights(
    planned: PlannedStep, layer: keras.layers.Layer, new: Mapping[str, np.ndarray]
) -> list[np.ndarray]:
    """The values of the new layer's weights, in its order."""
    original = planned.step.operation
    slices = planned.slice.weights
    if not slices and not new:
        return [keras.ops.convert_to_numpy(weight) for weight in original.weights]

    def sliced(weight: Any, name: str, shape: tuple[int, ...]) -> np.ndarray:
        if weight is None:
            return slices[name].added.reshape(tuple(shape))
        values = new[name] if name in new else keras.ops.convert_to_numpy(weight)
        return _sliced(values, slices.get(name))

    if len(layer.weights) == len(original.weights):  # names that Keras gave differ in the copy
        return [sliced(weight, name, weight.shape) for name, weight in named_weights(original)]
    weights = dict(named_weights(original))
    return [sliced(weights.get(w.name), w.name, w.shape) for w in layer.weights]


def _sliced(values: np.ndarray, part: Any) -> np.ndarray:
    if part is None:
        return values
    if part.values is not None:
        return part.values
    # One axis after the other: `np.ix_` of two long index arrays is several times slower.
    for axis, indices in part.axes.items():
        values = values.take(indices, axis)
    for axis, is_blank in part.blank.items():
        values = values * _along(axis, ~is_blank, values.ndim)
    return values if part.added is None else values + part.added


def _along(axis: int, values: np.ndarray, rank: int) -> np.ndarray:
    shape = [1] * rank
    shape[axis] = len(values)
    return values.reshape(shape)
