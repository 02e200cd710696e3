"""Decides what stays of a model: one pass backward for what is needed, one forward for what is.

Of every tensor of the new model the engine knows which channels of the original it keeps, and the
exact constant that stands for every dropped channel that somebody reads. What a layer makes of them
is left to the rules.
"""

import dataclasses
from collections import Counter
from collections.abc import Mapping

import keras
import numpy as np

from moda_keras.graph import Step, Tensor, hidden_activations_of, require_single_output, trace
from moda_keras.slicing.builder import build_model
from moda_keras.slicing.channels import Channels
from moda_keras.slicing.checks import check_needs, check_slice
from moda_keras.slicing.copying import is_copyable
from moda_keras.slicing.logits import find_output_activation, has_activation_argument
from moda_keras.slicing.plan import Fill, Plan, PlannedStep
from moda_keras.slicing.registry import Rule, find_rule
from moda_keras.slicing.rules.opaque import OPAQUE


@dataclasses.dataclass(frozen=True, eq=False)
class _Carried:
    """A tensor of the new model.

    `held` are the channels that it physically has; of those, `channels.kept` count. The others
    are masked, or nobody needs them, and disappear where the tensor is read.
    """

    held: np.ndarray
    channels: Channels


class Slicer:
    """Plans and builds sliced models of one model.

    What depends on the model alone is found out once, so that many plans are cheap. Weights are
    read whenever they are needed; the model may be trained on in between, but not rebuilt.

    Args:
        model: A built Functional or Sequential model with one output `(batch, classes)`.

    Raises:
        ValueError: If the model has no graph, or not that one output.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> import moda_keras as mk
        >>> model = keras.Sequential([
        ...     keras.Input((4,)),
        ...     keras.layers.Dense(8, activation="relu", name="features"),
        ...     keras.layers.Dense(3),
        ... ])
        >>> slicer = mk.slicing.Slicer(model)
        >>> plan = slicer.plan({"features": np.arange(8) < 5}, [2, 0])
        >>> plan.trainable_size  # (4 + 1) * 5 + (5 + 1) * 2
        37
        >>> slicer.build(plan).output_shape
        (None, 2)
    """

    def __init__(self, model: keras.Model):
        self.graph = trace(model)
        require_single_output(model)
        self.model = model
        hidden = hidden_activations_of(self.graph)
        self.hidden = {tensor: activation.name for activation, tensor in hidden}
        self.units = {activation.name: activation.units for activation, _ in hidden}
        self.output_activation = find_output_activation(self.graph)
        self.rules = self._find_rules()
        self.on_logit_path = self._find_logit_path()

    def plan(
        self, units: Mapping[str, np.ndarray], outputs: np.ndarray, *, logits: bool = False
    ) -> Plan:
        """Decides what stays, without building any layer.

        Args:
            units: Maps names of hidden activations to bool arrays `(units,)`: those that stay.
                Activations that are missing keep all.
            outputs: Int array, the chosen classes, in the order of the new outputs.
            logits: Whether to leave out the output activation (softmax).

        Returns:
            A `Plan`.

        Raises:
            ValueError: If a name, a mask or a class is not of this model, or if a registered rule
                returns what cannot be.
        """
        masks = self._check_units(units)
        outputs = self._check_outputs(outputs)
        skipped = self._skipped_step(logits)
        needed = self._find_needed(masks, outputs, skipped)

        carried = {t: _all_channels(t) for t in self.graph.inputs}
        steps = []
        for step in self.graph.steps:
            if step is skipped:
                carried[step.outputs[0]] = carried[step.inputs[0]]
                continue
            wanted = self._wanted(step, needed, outputs)
            planned = self._plan_step(step, [carried[t] for t in step.inputs], wanted)
            if logits and step is self.output_activation:
                planned = _made_linear(planned)
            steps.append(planned)
            carried.update(_carry_outputs(planned, wanted, masks))
        read = carried[self.graph.outputs[0]]
        fill = _fill(read, read.channels.exactly(outputs))
        return Plan(self.model, self.graph, steps, skipped, fill, outputs)

    def build(self, plan: Plan, *, name: str | None = None) -> keras.Model:
        """Builds the model of a plan.

        Args:
            plan: A plan of this slicer.
            name: Name of the new model.

        Returns:
            A functional `keras.Model` with weights of its own.
        """
        return build_model(plan, name=name)

    # ------------------------------------------------------------------- about the model alone

    def _find_rules(self) -> dict[Step, Rule]:
        calls = Counter(step.operation for step in self.graph.steps)
        rules = {}
        for step in self.graph.steps:
            operation = step.operation
            is_shared = calls[operation] > 1 and bool(getattr(operation, "weights", ()))
            rule = find_rule(step, at_output=step is self.output_activation)
            is_sliced = rule is not None and not is_shared and is_copyable(operation)
            rules[step] = rule if is_sliced else OPAQUE
        return rules

    def _find_logit_path(self) -> set[Tensor]:
        """The tensors that lead to the output class by class, and nowhere else.

        The chosen order of the classes is asked of them, so that nothing need be reordered.
        """
        readers = Counter(tensor for step in self.graph.steps for tensor in step.inputs)
        path = {self.graph.outputs[0]}
        for step in reversed(self.graph.steps):
            if step.outputs[0] not in path:
                continue
            size = step.outputs[0].channels
            path |= {t for t in step.inputs if t.channels == size and readers[t] == 1}
        return path

    def _skipped_step(self, logits: bool) -> Step | None:
        """The output activation, if it is to be left out and is an operation of its own."""
        step = self.output_activation
        if not logits or step is None or has_activation_argument(step.operation):
            return None
        return step

    # ------------------------------------------------------------------------------- arguments

    def _check_units(self, units: Mapping[str, np.ndarray]) -> dict[Tensor, np.ndarray]:
        masks = {name: np.asarray(mask).astype(bool) for name, mask in units.items()}
        for name, mask in masks.items():
            if name not in self.units:
                raise ValueError(
                    f"Unknown hidden activation in `units`. Expected names from "
                    f"{list(self.units)}. Received: {name!r}"
                )
            if mask.shape != (self.units[name],):
                raise ValueError(
                    f"Expected `units[{name!r}]` to be a bool array of shape "
                    f"{(self.units[name],)}. Received: an array of shape {mask.shape}"
                )
        return {t: masks[name] for t, name in self.hidden.items() if name in masks}

    def _check_outputs(self, outputs: np.ndarray) -> np.ndarray:
        classes = self.graph.outputs[0].channels
        indices = np.asarray(outputs)
        is_valid = indices.ndim == 1 and indices.size and np.issubdtype(indices.dtype, np.integer)
        if not is_valid or indices.min() < 0 or indices.max() >= classes:
            raise ValueError(
                f"Expected `outputs` to be a non-empty array of integers from 0 to {classes - 1}. "
                f"Received: outputs={outputs}"
            )
        return indices

    # ---------------------------------------------------------------------------- the two passes

    def _find_needed(
        self, masks: dict[Tensor, np.ndarray], outputs: np.ndarray, skipped: Step | None
    ) -> dict[Tensor, np.ndarray]:
        """Per tensor a bool array `(channels,)`: which channels its producer must provide."""
        tensors = [*self.graph.inputs, *(t for step in self.graph.steps for t in step.outputs)]
        needed = {tensor: np.zeros(tensor.channels or 1, dtype=bool) for tensor in tensors}
        needed[self.graph.outputs[0]][outputs] = True
        for step in reversed(self.graph.steps):
            for tensor in step.outputs:
                needed[tensor] &= masks.get(tensor, True)
                if not needed[tensor].any():  # no tensor can be without channels
                    needed[tensor][0] = True
            own = needed[step.outputs[0]]
            reads = [own] if step is skipped else self.rules[step].needs(step, own)
            check_needs(self.rules[step], step, reads)
            for tensor, mask in zip(step.inputs, reads, strict=True):
                needed[tensor] |= mask
        return needed

    def _wanted(
        self, step: Step, needed: dict[Tensor, np.ndarray], outputs: np.ndarray
    ) -> np.ndarray:
        wanted = np.flatnonzero(needed[step.outputs[0]])
        in_chosen_order = step.outputs[0] in self.on_logit_path
        return outputs if in_chosen_order and np.array_equal(wanted, np.sort(outputs)) else wanted

    def _plan_step(self, step: Step, inputs: list[_Carried], wanted: np.ndarray) -> PlannedStep:
        rule = self.rules[step]
        sources = [_not_empty(carried.channels) for carried in inputs]
        decision = rule.slice(step, sources, wanted)
        check_slice(rule, step, decision)
        fills = [_fill(old, new) for old, new in zip(inputs, decision.inputs, strict=True)]
        return PlannedStep(step, rule, decision, fills)


def _all_channels(tensor: Tensor) -> _Carried:
    channels = Channels.full(tensor.channels or 1)
    return _Carried(channels.kept, channels)


def _not_empty(channels: Channels) -> Channels:
    return channels if len(channels.kept) else channels.exactly(np.zeros(1, dtype=int))


def _carry_outputs(
    planned: PlannedStep, wanted: np.ndarray, masks: dict[Tensor, np.ndarray]
) -> dict[Tensor, _Carried]:
    first, *others = planned.step.outputs
    output = planned.slice.output
    channels = output.masked(masks[first]) if first in masks else output
    return {first: _Carried(output.kept, channels), **{t: _all_channels(t) for t in others}}


def _fill(old: _Carried, new: Channels) -> Fill | None:
    """How `new` is made of what there is; None if it is there already."""
    if np.array_equal(new.kept, old.held) and old.channels.is_kept[new.kept].all():
        return None
    position = np.full(old.channels.size, -1)
    position[old.held] = np.arange(len(old.held))
    position[~old.channels.is_kept] = -1
    sources = position[new.kept]
    return Fill(sources, np.where(sources < 0, old.channels.const[new.kept], 0.0))


def _made_linear(planned: PlannedStep) -> PlannedStep:
    config = {**planned.slice.config, "activation": "linear"}
    return dataclasses.replace(planned, slice=dataclasses.replace(planned.slice, config=config))
