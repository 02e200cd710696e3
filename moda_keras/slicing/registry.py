"""The registry of slicing rules, and their base class."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from moda_keras.graph import Step, is_keras_class, keep_whole
from moda_keras.slicing.activations import is_softmax_over_positions, mixes_channels
from moda_keras.slicing.channels import Channels


@dataclass(frozen=True, eq=False)
class WeightSlice:
    """What of a weight of the original layer goes into the new layer.

    Attributes:
        axes: Maps an axis (positive or negative) to the int array of indices kept along it. The
            other axes stay whole.
        added: Array that is added to the sliced weight, or None. A weight that the original layer
            does not have is zero before that.
        blank: Maps an axis to a bool array over its kept indices: those set to zero, because the
            channels that they read are idle.
        values: The new layer's weight itself, where it is no part of the original's, as one that
            is packed; the axes are not used then.
    """

    axes: dict[int, np.ndarray]
    added: np.ndarray | None = None
    blank: dict[int, np.ndarray] = field(default_factory=dict)
    values: np.ndarray | None = None

    def indices(self, shape: tuple[int, ...]) -> list[np.ndarray]:
        """Kept indices along every axis of a weight of shape `shape`."""
        if self.values is not None:
            return [np.arange(length) for length in self.values.shape]
        kept = [np.arange(length) for length in shape]
        for axis, indices in self.axes.items():
            kept[axis] = indices
        return kept


@dataclass(frozen=True, eq=False)
class Slice:
    """How one step of a model is sliced.

    Attributes:
        inputs: One `Channels` per input tensor: the inputs that the new layer needs.
        output: The `Channels` that come out; of a rule with `several_outputs` a list of them.
        config: Entries of the layer's config that change.
        weights: Maps names of the layer's weights to a `WeightSlice`. The other weights are copied
            whole.
    """

    inputs: list[Channels]
    output: Channels | list[Channels]
    config: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, WeightSlice] = field(default_factory=dict)

    @property
    def outputs(self) -> list[Channels]:
        """The `Channels` of every output."""
        return self.output if isinstance(self.output, list) else [self.output]


class Rule:
    """How one kind of layer is sliced. Subclass it and register it with `register_rule`.

    A rule receives only steps whose tensors all have a known number of channels. `applies` rejects
    a layer that the rule does not support; that layer is then kept whole.

    Attributes:
        several_outputs: Whether the rule serves steps with several outputs. `needed`, `wanted` and
            `Slice.output` are then lists, one entry per output.
        reads_idle: Whether `slice` reads `Channels.idle`; otherwise it never receives any.
        feeds_back: Whether the layer reads its own output, as recurrent layers do. It is then asked
            for all units that are not masked, and only for them; no other call may share it.
        whole_inputs: Whether the inputs are taken whole: indices, say, instead of channels.
    """

    several_outputs = False
    reads_idle = False
    feeds_back = False
    whole_inputs = False

    def applies(self, step: Step) -> bool:
        """Whether the rule can slice this call of the layer."""
        return True

    def needs(self, step: Step, needed: np.ndarray) -> list[np.ndarray]:
        """Which input channels the needed output channels are computed from.

        Args:
            step: The call of the layer. `step.inputs` and `step.outputs` know shape, number of
                channels and channel axis of the tensors.
            needed: Bool array `(output channels,)`.

        Returns:
            One bool array `(input channels,)` per input.
        """
        raise NotImplementedError

    def slice(self, step: Step, inputs: list[Channels], wanted: np.ndarray) -> Slice:
        """Determines the new layer.

        Args:
            step: The call of the layer.
            inputs: What there is of each input; at least one channel.
            wanted: Int array, the output channels that are needed; at least one. An output in this
                very order saves a reordering later.

        Returns:
            A `Slice`. Its output must keep, or know as constants, all wanted channels.
        """
        raise NotImplementedError

    def masked_weights(self, step: Step, mask: np.ndarray) -> dict[str, np.ndarray]:
        """What masking the output's units does to the layer's own weights, if it `feeds_back`.

        Args:
            step: The call of the layer.
            mask: Bool array `(units,)`: those that stay.

        Returns:
            Dict from names of weights to arrays by which `masked_model` multiplies them.
        """
        return {}


_RULES: dict[type | str, list[Rule]] = {}


def register_rule(*kinds: type | str) -> Callable[[type[Rule]], type[Rule]]:
    """Class decorator that registers a `Rule` for kinds of layers.

    A rule serves subclasses too, unless they define a `call` of their own. Of several rules for one
    layer the one that was registered last and applies is taken.

    Args:
        *kinds: Layer classes, or names of classes that Keras does not export: those behind calls
            of `keras.ops`, such as "Relu".

    Returns:
        The decorator.

    Examples:
        A layer with one trained factor per channel:

        >>> import keras
        >>> import moda_keras as mk
        >>> class Scale(keras.layers.Layer):
        ...     def build(self, input_shape):
        ...         self.factor = self.add_weight(shape=(input_shape[-1],), name="factor")
        ...     def call(self, inputs):
        ...         return inputs * self.factor
        >>> @mk.slicing.register_rule(Scale)
        ... class ScaleRule(mk.slicing.Rule):
        ...     def needs(self, step, needed):
        ...         return [needed]
        ...     def slice(self, step, inputs, wanted):
        ...         factor = keras.ops.convert_to_numpy(step.operation.factor)
        ...         source = inputs[0].only(wanted)
        ...         return mk.slicing.Slice(
        ...             inputs=[source],
        ...             output=mk.slicing.Channels(source.kept, source.const * factor),
        ...             weights={"factor": mk.slicing.WeightSlice({0: source.kept})},
        ...         )
    """

    def register(rule_class: type[Rule]) -> type[Rule]:
        rule = rule_class()
        for kind in kinds:
            _RULES.setdefault(kind, []).insert(0, rule)
            if isinstance(kind, type):
                keep_whole(kind)  # the rule speaks of the layer, not of what is inside
        return rule_class

    return register


def keeps_channel_axis(step: Step) -> bool:
    """Whether the step has one input, and its channels lie along the axis of the output's."""
    return len(step.inputs) == 1 and step.inputs[0].channel_axis == step.outputs[0].channel_axis


def find_rule(step: Step, *, at_output: bool = False) -> Rule | None:
    """The registered rule that can slice `step`, or None.

    Args:
        step: The call of an operation.
        at_output: Whether the step ends in the model's output activation. That is taken over the
            chosen logits, whereas a softmax inside a model needs all its channels.
    """
    mixes = mixes_channels(step.operation) and not is_softmax_over_positions(step)
    if step.kwargs.get("training") or (mixes and not at_output):
        return None
    rules = (rule for rule in rules_for(type(step.operation)) if _fits(rule, step))
    return next(rules, None)


def rules_for(cls: type) -> list[Rule]:
    """The rules for a class of layers or operations, the latest first."""
    if cls in _RULES:
        return _RULES[cls]
    if _is_of_keras(cls) and cls.__name__ in _RULES:
        return _RULES[cls.__name__]
    for kind in cls.__mro__ if issubclass(cls, keras.layers.Layer) else ():
        if kind in _RULES:
            return _RULES[kind] if kind.call is cls.call else []
    return []


def is_unknown(operation: Any) -> bool:
    """Whether an operation comes from outside Keras and has no rule."""
    return not _is_of_keras(type(operation)) and not rules_for(type(operation))


def _is_of_keras(cls: type) -> bool:
    return is_keras_class(cls) or cls.__module__.startswith("moda_keras.")


def _fits(rule: Rule, step: Step) -> bool:
    tensors = step.outputs if rule.whole_inputs else [*step.inputs, *step.outputs]
    has_plain_tensors = all(len(t.shape) > 1 and t.channels for t in tensors)
    has_one_output = len(step.outputs) == 1 or rule.several_outputs
    return has_plain_tensors and has_one_output and rule.applies(step)
