"""Slices a model of several outputs by the units of one of them."""

import dataclasses
from functools import cached_property

import keras

from moda_keras.graph import (
    Graph,
    NoCommonPart,
    Step,
    Tensor,
    find_common_part,
    inputs_and_outputs,
    to_functional,
    trace,
)
from moda_keras.slicing.copying import is_sliceable
from moda_keras.slicing.own_activation import with_own_activation
from moda_keras.slicing.registry import Rule
from moda_keras.slicing.rules.dense_like import DenseLike
from moda_keras.slicing.rules.opaque import Opaque
from moda_keras.slicing.side_inputs import find_rule
from moda_keras.slicing.slicer import Slicer


class WholeModelSlicer(Slicer):
    """Plans and builds sliced models that keep all outputs of a model.

    Units and classes are those of one of the outputs, the class output. The others are read whole:
    where units are dropped, they have zeros. What leads to the other outputs alone has no masks.

    Args:
        part: The slicer of the class output's model.
        model: A built model of several outputs, one of which is that of `part.model`, with the same
            layers or a copy of them. It is not changed.

    Raises:
        ValueError: If the model has one output, none that is the class output, or several.

    Examples:
        >>> import keras
        >>> import numpy as np
        >>> import moda_keras as mk
        >>> inputs = keras.Input((4,))
        >>> x = keras.layers.Dense(8, activation="relu", name="features")(inputs)
        >>> scores, box = keras.layers.Dense(3)(x), keras.layers.Dense(4)(x)
        >>> model = keras.Model(inputs, [scores, box])
        >>> part = mk.slicing.Slicer(keras.Model(inputs, scores))
        >>> slicer = mk.slicing.WholeModelSlicer(part, model)
        >>> plan = slicer.plan({"features": np.arange(8) < 5}, [2, 0])
        >>> slicer.build(plan).output_shape
        [(None, 2), (None, 4)]
    """

    def __init__(self, part: Slicer, model: keras.Model):
        self.model = _functional(model)
        graph = trace(self.model)
        output, tensors = _find_class_output(part, graph)
        others = list(dict.fromkeys(each for each in graph.outputs if each is not output))
        found = [output, *others]
        self.places = tuple(found.index(each) for each in graph.outputs)
        graph = dataclasses.replace(graph, outputs=found, model=self.model)
        if part.output_activation is not None:
            made = tensors[part.output_activation.outputs[0]]
            step = next(step for step in graph.steps if made in step.outputs)
            graph = with_own_activation(graph, step)
        self._hidden = {tensors[own]: name for own, name in part.hidden.items() if own in tensors}
        self._read(graph)
        self.hidden_activations, self.units = part.hidden_activations, part.units
        _require_same_recurrence(part, self, tensors)

    @cached_property
    def hidden(self) -> dict[Tensor, str]:
        """The tensors that show units of the class output's model, each with its name there."""
        return self._hidden

    def _find_rule(self, step: Step) -> Rule:
        rule = super()._find_rule(step)
        if not isinstance(rule, Opaque) or not self._puts_out_all(step):
            return rule
        # Its softmax, say, is over all of its channels, and only what goes in is sliced.
        other = find_rule(step, at_output=True)
        return other if isinstance(other, DenseLike) and is_sliceable(step.operation) else rule

    def _puts_out_all(self, step: Step) -> bool:
        tensor = step.outputs[0]
        is_read_whole = tensor in self.graph.outputs[1:] and tensor not in self.hidden
        return is_read_whole and self.calls[step.operation] == 1


def _functional(model: keras.Model) -> keras.Model:
    if not isinstance(model, keras.Model):
        raise ValueError(
            "Expected `keep_outputs` to be the whole model, a keras.Model of several outputs. "
            f"Received: keep_outputs={model!r} (of type {type(model).__name__})"
        )
    functional = to_functional(model)
    if len(functional.outputs) == 1:
        raise ValueError(
            "Expected `keep_outputs` to be a model of several outputs, one of which has the "
            f"classes. Received: model {model.name!r} with one output. Leave out `keep_outputs`"
        )
    return functional


def _find_class_output(part: Slicer, graph: Graph) -> tuple[Tensor, dict[Tensor, Tensor]]:
    """The output that is the part's, and the tensors of the part with those of the graph."""
    names = _output_names(graph.model)
    found, reasons = {}, {}
    for name, output in zip(names, graph.outputs, strict=True):
        try:
            found[output] = find_common_part(part.graph, graph, output)
        except NoCommonPart as error:
            reasons[name] = str(error)
    if not found:
        told = "; ".join(f"output {name!r}: {reason}" for name, reason in reasons.items())
        raise ValueError(
            "Expected `keep_outputs` to be the whole model of which the modules' model "
            f"{part.model.name!r} is one output, with the same layers and weights. Received: model "
            f"{graph.model.name!r}, none of whose outputs is that one ({told}). Decompose "
            "`keras.Model(model.inputs, model.outputs[i])`, or `mk.to_functional(model, output=)`"
        )
    if len(found) > 1:
        own = part.model.outputs[0]
        found = {t: each for t, each in found.items() if t.keras_tensor is own} or found
    if len(found) > 1:
        which = [name for name, t in zip(names, graph.outputs, strict=True) if t in found]
        raise ValueError(
            "Expected one output of the model in `keep_outputs` to be that of the modules' model "
            f"{part.model.name!r}. Received: model {graph.model.name!r}, in which {which} all are: "
            "they have the same layers and weights. Which one is meant? Give a model with that one "
            "of them and the other outputs: `keras.Model(model.inputs, [...])`"
        )
    return next(iter(found.items()))


def _output_names(model: keras.Model) -> list:
    """What a user calls the outputs: their keys in a dict, or their indices."""
    indices = list(range(len(model.outputs)))
    packed = keras.tree.pack_sequence_as(inputs_and_outputs(model)[1], indices)
    is_flat = isinstance(packed, dict) and all(isinstance(v, int) for v in packed.values())
    return sorted(packed, key=packed.get) if is_flat else indices


def _require_same_recurrence(
    part: Slicer, slicer: WholeModelSlicer, tensors: dict[Tensor, Tensor]
) -> None:
    """Raises a ValueError if a recurrent layer whose units are masked has unmasked calls too."""
    rules = {tensor: rule for step, rule in slicer.rules.items() for tensor in step.outputs}
    for step, rule in part.rules.items():
        tensor = tensors.get(step.outputs[0])
        if tensor is not None and rule.feeds_back and not rules[tensor].feeds_back:
            raise ValueError(
                "Expected a model in `keep_outputs` whose recurrent layers serve the class output "
                f"in every call. Received: model {slicer.model.name!r}, whose layer {step.name!r} "
                "is called for other outputs too. There its units would stay, but its weights are "
                "the same. Compose without `keep_outputs`"
            )
