"""A model cut at its hidden activations, with masks of units as inputs."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from moda_keras import graph
from moda_keras.graph import Graph, Tensor, is_masked
from moda_keras.modules.checks import check_modules
from moda_keras.modules.module_set import ModuleSet
from moda_keras.slicing.plan import Plan


class StagedModel:
    """The masked model of any union of modules, in stages that end at hidden activations.

    A stage takes the tensors alive at one hidden activation, one row per sample and union. It
    multiplies the activation's units by one mask per row and computes the tensors alive at the
    next. Each row has its own union, and rows that agree up to a stage are computed up to it only
    once. Stages are compiled once, for any masks. Units that no module has are sliced away first.

    Args:
        modules: The modules.

    Attributes:
        classes: Int array (P,): the classes that have modules, in the order of the logits.
        names: Names of the hidden activations, in the order of the stages.
        kept: Dict from activation name to an int array: the units of any module.
        stages: Callables on lists of arrays, one more than there are activations.

    Raises:
        ValueError: If the model cannot be cut; `why_not_staged` gives the reason.
    """

    def __init__(self, modules: ModuleSet):
        reason = why_not_staged(modules)
        if reason:
            raise ValueError(
                f"Expected a model that can be cut at its hidden activations. Received: {reason}. "
                "Measure its sub-tasks one by one with `metrics.reuse_accuracy`"
            )
        self.classes = modules.classes_with_modules()
        slim = _slim_model(modules, self.classes)
        self.kept = {name: kept for name, kept, _ in slim.hidden}
        self.names = list(self.kept)
        tensors = [tensor for *_, tensor in slim.hidden]
        self.stages = _cut(slim.graph, tensors, slim.model.inputs)


class Stage(keras.Model):
    """The steps from one hidden activation to the next.

    Call arguments:
        inputs: List of the tensors alive at the first activation and its float mask (rows, units).
            The first stage takes the model's inputs instead.

    Returns:
        List of the tensors alive at the next activation and a bool tensor (rows, units) that marks
        its non-zero units. The last stage returns the logits only.
    """

    def __init__(
        self,
        part: Graph,
        masked: Tensor | None,
        observed: Tensor | None,
        entry: keras.Model | None,
    ):
        super().__init__(autocast=False)
        self.part = part
        self.masked = masked
        self.observed = observed
        self.entry = entry
        operations = dict.fromkeys(step.operation for step in part.steps)
        # Keras finds the weights of a list of layers.
        self.steps_with_weights = [op for op in operations if isinstance(op, keras.layers.Layer)]
        self.compile()

    def call(self, inputs):
        values = list(inputs)
        if self.entry is not None:
            values = keras.tree.flatten(self.entry(values, training=False))
        if self.masked is not None:
            mask = values.pop()
            index = self.part.inputs.index(self.masked)
            values[index] = _mask_units(values[index], mask, self.masked.channel_axis)
        computed = self.part.run(values)
        outputs = [computed[tensor] for tensor in self.part.outputs]
        if self.observed is None:
            return outputs
        return [*outputs, _is_active(computed[self.observed], self.observed.channel_axis)]


def why_not_staged(modules: ModuleSet) -> str | None:
    """The reason why a model cannot be cut at its hidden activations, or None if it can.

    Args:
        modules: Modules of the model.

    Returns:
        Str or None.
    """
    check_modules(modules)
    slicer = modules.slicer
    for step, rule in slicer.rules.items():
        if rule.feeds_back and step.outputs[0] in slicer.hidden:
            return f"layer {step.name!r} is recurrent: it feeds its units back in time"
    for tensor in modules.model.inputs:
        if graph.is_optional(tensor):
            return f"the input {tensor.name!r} is optional"
    tensors = [*slicer.graph.inputs, *(t for step in slicer.graph.steps for t in step.outputs)]
    for tensor in tensors:
        if is_masked(tensor.keras_tensor):
            return f"the tensor {tensor.keras_tensor.name!r} carries a time step mask"
        if not tensor.shape or tensor.shape[0] is not None:
            return f"the tensor {tensor.keras_tensor.name!r} has no free batch axis"
    return None


class _Slim(NamedTuple):
    """The model of all modules together.

    Attributes:
        model: The model, up to its logits.
        graph: Its graph.
        hidden: Of each hidden activation, in the order of execution, its name in the modules, the
            units that it keeps, and its tensor in the graph.
    """

    model: keras.Model
    graph: Graph
    hidden: list[tuple[str, np.ndarray, Tensor]]


def _slim_model(modules: ModuleSet, classes: np.ndarray) -> _Slim:
    for units in (modules.union(classes), {}):
        plan = modules.slicer.plan(units, classes, logits=True)
        kept = _kept_units(modules, plan)
        built = modules.slicer.build_parts(plan, keep_marks=True)
        # By tensor, for a layer inside a composite layer has another name in the new model.
        names = {
            id(built.tensor(tensor)): name
            for tensor, name in modules.slicer.hidden.items()
            if name in kept
        }
        traced = graph.trace(built.model)
        hidden = [
            (names.get(id(tensor.keras_tensor)), activation.units, tensor)
            for activation, tensor in graph.hidden_activations_of(traced)
        ]
        if {name: units for name, units, _ in hidden} == {n: len(u) for n, u in kept.items()}:
            found = [(name, kept[name], tensor) for name, _, tensor in hidden]
            return _Slim(built.model, traced, found)
    raise ValueError(
        f"Expected the hidden activations {list(kept)} in the sliced model. Received: "
        f"{[tensor.keras_tensor.name for *_, tensor in hidden]}"
    )


def _kept_units(modules: ModuleSet, plan: Plan) -> dict[str, np.ndarray]:
    hidden = modules.slicer.hidden
    return {
        hidden[tensor]: channels.kept
        for planned in plan.steps
        for tensor, channels in zip(planned.step.outputs, planned.slice.outputs, strict=True)
        if tensor in hidden
    }


def _cut(whole: Graph, tensors: Sequence[Tensor], inputs: list) -> list[Stage]:
    ends = [_position(whole, tensor) for tensor in tensors] + [len(whole.steps)]
    starts = [0, *ends[:-1]]
    alive = [whole.inputs, *(_alive_after(whole, end) for end in ends[:-1]), whole.outputs]
    stages = []
    for index, (start, end) in enumerate(zip(starts, ends, strict=True)):
        part = Graph(alive[index], alive[index + 1], whole.steps[start:end])
        stages.append(
            Stage(
                part,
                masked=tensors[index - 1] if index else None,
                observed=tensors[index] if index < len(tensors) else None,
                entry=None if index else graph.Functional(inputs, inputs),
            )
        )
    return stages


def _position(whole: Graph, tensor: Tensor) -> int:
    """The number of steps after which the tensor is known."""
    return next(i for i, step in enumerate(whole.steps, 1) if tensor in step.outputs)


def _alive_after(whole: Graph, end: int) -> list[Tensor]:
    """The tensors known after the first `end` steps that a later step, or the output, reads."""
    known = {*whole.inputs, *(t for step in whole.steps[:end] for t in step.outputs)}
    later = [t for step in whole.steps[end:] for t in step.inputs]
    return [t for t in dict.fromkeys([*later, *whole.outputs]) if t in known]


def _mask_units(value: Any, mask: Any, axis: int) -> Any:
    shape = [1] * len(value.shape)
    shape[0], shape[axis] = -1, mask.shape[1]
    return value * ops.cast(ops.reshape(mask, shape), value.dtype)


def _is_active(value: Any, axis: int) -> Any:
    others = [i for i in range(1, len(value.shape)) if i != axis]
    return ops.any(ops.not_equal(value, 0), axis=others) if others else ops.not_equal(value, 0)
