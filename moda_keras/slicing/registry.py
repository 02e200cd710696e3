"""Which rule slices which kind of layer, and what a rule is."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from moda_keras.graph import Step
from moda_keras.slicing.activations import mixes_channels
from moda_keras.slicing.channels import Channels


@dataclass(frozen=True, eq=False)
class WeightSlice:
    """What of a weight of the original layer goes into the new layer.

    Attributes:
        axes: Maps an axis (positive or negative) to the int array of indices kept along it. The
            other axes stay whole.
        added: Array that is added to the sliced weight, or None. A weight that the original layer
            does not have is zero before that.
    """

    axes: dict[int, np.ndarray]
    added: np.ndarray | None = None

    def indices(self, shape: tuple[int, ...]) -> list[np.ndarray]:
        """Kept indices along every axis of a weight of shape `shape`."""
        kept = [np.arange(length) for length in shape]
        for axis, indices in self.axes.items():
            kept[axis] = indices
        return kept


@dataclass(frozen=True, eq=False)
class Slice:
    """How one step of a model is sliced.

    Attributes:
        inputs: One `Channels` per input tensor: what the new layer must be fed with.
        output: The `Channels` that come out.
        config: Entries of the layer's config that change.
        weights: Maps names of the layer's weights to a `WeightSlice`. The other weights are copied
            whole.
    """

    inputs: list[Channels]
    output: Channels
    config: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, WeightSlice] = field(default_factory=dict)


class Rule:
    """How one kind of layer is sliced. Subclass it and register it with `register_rule`.

    A rule sees only steps with one output tensor, whose tensors all have a known number of
    channels. A layer that is not what the rule expects is refused by `applies` and then taken
    whole.
    """

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
        """Decides what the new layer is.

        Args:
            step: The call of the layer.
            inputs: What there is of each input; at least one channel.
            wanted: Int array, the output channels that are needed; at least one. An output in this
                very order saves a reordering later.

        Returns:
            A `Slice`. Its output must keep, or know as constants, all wanted channels.
        """
        raise NotImplementedError


_RULES: dict[type | str, Rule] = {}


def register_rule(*kinds: type | str) -> Callable[[type[Rule]], type[Rule]]:
    """Class decorator that registers a `Rule` for kinds of layers.

    A rule serves subclasses too, unless they define a `call` of their own.

    Args:
        *kinds: Layer classes, or names of `keras.ops` operation classes, such as "Relu".

    Returns:
        The decorator.

    Example:
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
            _RULES[kind] = rule
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
    rule = _registered(step.operation)
    if rule is None or not _has_plain_tensors(step) or step.kwargs.get("training"):
        return None
    if mixes_channels(step.operation) and not at_output:
        return None
    return rule if rule.applies(step) else None


def _registered(operation: Any) -> Rule | None:
    cls = type(operation)
    if not isinstance(operation, keras.layers.Layer):
        # The classes behind `keras.ops` calls have no public names.
        return _RULES.get(cls.__name__) if cls.__module__.startswith("keras.") else None
    for kind in cls.__mro__:
        if kind in _RULES:
            return _RULES[kind] if kind.call is cls.call else None
    return None


def _has_plain_tensors(step: Step) -> bool:
    tensors = [*step.inputs, *step.outputs]
    return len(step.outputs) == 1 and all(len(t.shape) > 1 and t.channels for t in tensors)
