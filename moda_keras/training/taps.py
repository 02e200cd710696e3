"""What a training step sees of a model: its output and its hidden activations."""

from typing import Any, NamedTuple

import keras

from moda_keras import graph
from moda_keras.graph import HiddenActivation
from moda_keras.ops.backends import adapter


class Observation(NamedTuple):
    """A hidden activation as `MODALoss.objectives` takes it.

    Attributes:
        activation: Tensor (B, D), or a map (B, ..., D).
        axis: Axis of the units.
        non_negative: Whether no element is negative.
    """

    activation: Any
    axis: int
    non_negative: bool


class OutputProbe:
    """Puts out the hidden activations as they are, from a model on the same tensors.

    Layers are shared, and no node is added to them.

    Args:
        model: A functional model.
        hidden: Its hidden activations.
    """

    def __init__(self, model: keras.Model, hidden: list[HiddenActivation]):
        self.hidden = hidden
        tensors = [each.tensor for each in hidden]
        self.probe = keras.Model(model.input, [model.outputs[0], tensors], name="probe")

    def __call__(self, inputs: Any, training: bool | None) -> tuple[Any, list[Observation]]:
        """The output and the observations, in the order of `hidden`."""
        output, activations = self.probe(inputs, training=training)
        return output, [
            Observation(activation, each.channel_axis, each.non_negative)
            for each, activation in zip(self.hidden, activations, strict=True)
        ]


class InLineProbe:
    """Runs the model's graph with a tap behind every hidden activation.

    A tap lets the activation through and reads its activation vectors (B, D) off; on the way back
    it adds their gradient into the one that comes from the next layer, in place, so that no
    gradient the size of a map is written for the objectives.

    Args:
        model: A functional model.
    """

    def __init__(self, model: keras.Model):
        self.graph = graph.trace(model)
        self.hidden = {tensor: each for each, tensor in graph.hidden_activations_of(self.graph)}
        # Brings inputs into the model's order, dtypes and ranks, as the model itself does.
        self.entry = graph.Functional(model.input, model.inputs, name="entry")

    def __call__(self, inputs: Any, training: bool | None) -> tuple[Any, list[Observation]]:
        """The output and the observations, in the order of execution."""
        observed: dict[graph.Tensor, Observation] = {}

        def observe(tensor, value):
            if tensor not in self.hidden:
                return value
            value, observed[tensor] = _tapped(self.hidden[tensor], value)
            return value

        def call(step, args, kwargs):
            # As Keras does in a functional model: a mode asked for overrules what a node recorded.
            if training is not None and graph.accepts_training(step.operation):
                kwargs = {**kwargs, "training": training}
            return step.operation(*args, **kwargs)

        flat = keras.tree.flatten(self.entry(inputs, training=training))
        values = self.graph.run(flat, call, transform=observe)
        return values[self.graph.outputs[0]], [observed[tensor] for tensor in self.hidden]


def probe_for(model: keras.Model, hidden: list[HiddenActivation]) -> OutputProbe | InLineProbe:
    """The probe that is best on this backend.

    Args:
        model: A functional model.
        hidden: Its hidden activations.

    Returns:
        Maps inputs to the model's output and its observations.
    """
    return OutputProbe(model, hidden) if adapter.tap is None else InLineProbe(model)


def _tapped(hidden: HiddenActivation, value: Any) -> tuple[Any, Observation]:
    if len(value.shape) == 2:
        # One dtype for all: the operations take the activations of a step together.
        vectors = keras.ops.cast(value, _real_dtype(value))
        return value, Observation(vectors, 1, hidden.non_negative)
    if getattr(value, "_keras_mask", None) is not None:  # it would be lost: it is an attribute
        return value, Observation(value, hidden.channel_axis, hidden.non_negative)
    value, vectors = adapter.tap(value, hidden.channel_axis, hidden.non_negative)
    return value, Observation(vectors, 1, True)


def _real_dtype(value: Any) -> str:
    dtype = keras.backend.standardize_dtype(value.dtype)
    return dtype if dtype == "float64" else "float32"
