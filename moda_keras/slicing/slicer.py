"""Slices a model: the analysis of the model and the public slicing calls.

The backward and forward passes that decide which channels stay are in `passes`.
"""

import warnings
from collections import Counter
from collections.abc import Mapping
from functools import cached_property

import keras
import numpy as np

from moda_keras.graph import (
    Graph,
    Step,
    Tensor,
    has_changed_weights,
    hidden_activations_of,
    is_gate,
    observed_tensors,
    require_single_output,
    trace,
)
from moda_keras.slicing.builder import BuiltModel, Weights, build_model
from moda_keras.slicing.checks import check_align, check_outputs, check_units
from moda_keras.slicing.copying import is_sliceable
from moda_keras.slicing.logits import (
    find_inner_softmax,
    find_output_activation,
    has_activation_argument,
    is_constant_over_one_class,
)
from moda_keras.slicing.passes import Passes
from moda_keras.slicing.plan import Plan
from moda_keras.slicing.registry import Rule, is_unknown
from moda_keras.slicing.rules.opaque import OPAQUE, Opaque
from moda_keras.slicing.sharing import Agreement
from moda_keras.slicing.side_inputs import find_rule


class Slicer:
    """Plans and builds sliced models of one model.

    What depends on the model alone is found out once, so that many plans are cheap. Weights are
    read whenever they are needed; the model may be trained on in between, but not rebuilt.

    Args:
        model: A built Functional or Sequential model with one output `(batch, classes)`.

    Raises:
        ValueError: If the model has no graph, or not that one output.

    Examples:
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

    places: tuple[int, ...] = (0,)  # of the model's outputs in the graph's

    def __init__(self, model: keras.Model):
        graph = trace(model)
        require_single_output(graph.model)
        self.model = graph.model
        self.hidden_activations = [hidden for hidden, _ in hidden_activations_of(graph)]
        self.units = {hidden.name: hidden.units for hidden in self.hidden_activations}
        self._read(graph)

    def _read(self, graph: Graph) -> None:
        self.graph = graph
        self.output_activation = find_output_activation(graph)
        self.calls = Counter(step.operation for step in graph.steps)

    @cached_property
    def hidden(self) -> dict[Tensor, str]:
        """The tensors that show units, each with the name of its hidden activation."""
        return {tensor: hidden.name for tensor, hidden in observed_tensors(self.graph).items()}

    @cached_property
    def rules(self) -> dict[Step, Rule]:
        """The rule of every step."""
        unknown = {type(s.operation): s for s in self.graph.steps if is_unknown(s.operation)}
        for step in unknown.values():
            _warn_of_unknown(step)
        return {step: self._find_rule(step) for step in self.graph.steps}

    @cached_property
    def on_logit_path(self) -> set[Tensor]:
        """The tensors that lead to the output class by class, and nowhere else.

        Their producers are asked for the classes in the chosen order, so that nothing needs to be
        reordered.
        """
        readers = Counter(tensor for step in self.graph.steps for tensor in step.inputs)
        readers.update(self.graph.outputs)
        path = {tensor for tensor in self.graph.outputs[:1] if readers[tensor] == 1}
        for step in reversed(self.graph.steps):
            if step.outputs[0] not in path:
                continue
            size = step.outputs[0].channels
            path |= {t for t in step.inputs if t.channels == size and readers[t] == 1}
        return path

    @cached_property
    def inner_softmax(self) -> Step | None:
        """A softmax over the classes that is not the output's activation; None without one."""
        if self.output_activation is not None:
            return None
        return find_inner_softmax(self.graph, self.on_logit_path)

    @cached_property
    def is_constant_over_one_class(self) -> bool:
        """Whether the output activation makes the output of a single class constant."""
        step = self.output_activation
        return step is not None and is_constant_over_one_class(step.operation)

    @cached_property
    def has_independent_outputs(self) -> bool:
        """Whether every output judges its class alone, by a sigmoid: it takes it from 0.5 on."""
        step = self.output_activation
        return step is not None and is_gate(step.operation)

    @property
    def whole_changed_layers(self) -> list[str]:
        """Names of the layers that stay whole for they are quantized or have LoRA enabled."""
        return [
            step.name
            for step, rule in self.rules.items()
            if isinstance(rule, Opaque) and has_changed_weights(step.operation)
        ]

    def plan(
        self,
        units: Mapping[str, np.ndarray],
        outputs: np.ndarray,
        *,
        logits: bool = False,
        align: int = 1,
    ) -> Plan:
        """Decides what stays, without building any layer.

        Args:
            units: Maps names of hidden activations to bool arrays `(units,)`: those that stay.
                Activations that are missing keep all.
            outputs: Int array, the chosen classes, in the order of the new outputs.
            logits: Whether to leave out the output activation (softmax).
            align: Positive int. The numbers of channels are rounded up to a multiple of it, as far
                as the original has that many; the added channels have no effect.

        Returns:
            A `Plan`.

        Raises:
            ValueError: If a name, a mask or a class is not of this model, or if a registered rule
                returns an invalid result.
        """
        masks = check_units(units, self.units)
        appended = None if logits else self._appended_activation()
        passes = Passes(
            graph=self.graph,
            rules=self.rules,
            masks={t: masks[name] for t, name in self.hidden.items() if name in masks},
            outputs=check_outputs(outputs, self.graph.outputs[0].channels),
            on_logit_path=self.on_logit_path,
            output_activation=self.output_activation if logits or appended else None,
            skipped=self._skipped_step(logits),
            align=check_align(align),
            agreement=Agreement(self.graph.steps),
        )
        steps, fills = passes.run()
        return Plan(
            self.model, self.graph, steps, passes.skipped, fills, passes.outputs, appended,
            self.places,
        )  # fmt: skip

    def build(
        self,
        plan: Plan,
        *,
        name: str | None = None,
        weights: Weights | None = None,
        keep_marks: bool = False,
    ) -> keras.Model:
        """Builds the model of a plan.

        Args:
            plan: A plan of this slicer.
            name: Name of the new model.
            weights: By operation of the original and name of the weight: arrays of the original's
                shapes in place of its values.
            keep_marks: Whether to keep every `moda_keras.layers.ModularActivation` that passes its
                input through, and only marks it.

        Returns:
            A functional `keras.Model` with weights of its own.
        """
        return build_model(plan, name=name, weights=weights, keep_marks=keep_marks).model

    def build_parts(
        self,
        plan: Plan,
        *,
        name: str | None = None,
        weights: Weights | None = None,
        keep_marks: bool = False,
    ) -> BuiltModel:
        """As `build`; the new layer of every step, and every new tensor, can be asked for."""
        return build_model(plan, name=name, weights=weights, keep_marks=keep_marks)

    # ------------------------------------------------------------------- about the model alone

    def _find_rule(self, step: Step) -> Rule:
        rule = find_rule(step, at_output=step is self.output_activation)
        is_sliced = rule is not None and is_sliceable(step.operation)
        if is_sliced and rule.feeds_back and self.calls[step.operation] > 1:
            return OPAQUE
        return rule if is_sliced else OPAQUE

    def _skipped_step(self, logits: bool) -> Step | None:
        """The output activation, if it is to be left out and is an operation of its own."""
        step = self.output_activation
        if not logits or step is None or has_activation_argument(step.operation):
            return None
        return step

    def _appended_activation(self) -> Step | None:
        """The output step, if it is kept whole, so that its activation must follow the choice."""
        step = self.output_activation
        if step is None or not has_activation_argument(step.operation):
            return None
        return step if isinstance(self.rules[step], Opaque) else None


def _warn_of_unknown(step: Step) -> None:
    """Describes what a rule for the layer's class would change."""
    kind = type(step.operation)
    warnings.warn(
        f"No slicing rule is known for layer {step.name!r} of class {kind.__name__}. It is kept "
        "whole and fed with all of its channels: correct, but not smaller. To slice it, register a "
        f"rule: `@moda_keras.slicing.register_rule({kind.__name__})` on a subclass of "
        "`moda_keras.slicing.Rule`, or on `moda_keras.slicing.Opaque` if it must stay whole.",
        stacklevel=2,
    )
