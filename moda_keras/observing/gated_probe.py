"""A model with a gate on every unit of its hidden activations, run up to its loss."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from moda_keras.graph import Graph, activation_name, observed_tensors
from moda_keras.observing.activation_probe import ActivationProbe
from moda_keras.slicing.copying import copy_operation, copy_weights
from moda_keras.slicing.logits import find_output_activation, has_activation_argument

_OF_SOFTMAX = ("softmax", "logsoftmax")
_OF_SIGMOID = ("sigmoid",)


class GatedProbe(ActivationProbe):
    """Puts out the hidden activations of a model and its logits, with gates on the units.

    A gate is a factor at all positions of a unit, for one sample. It has the value 1; what counts
    is the gradient by it. The tensors that show the units of one hidden activation, such as the
    output and the state of a recurrent layer, have the same gates.

    Args:
        traced: The graph of the model.
    """

    def __init__(self, traced: Graph):
        super().__init__(traced)
        index = {hidden.name: i for i, hidden in enumerate(self.hidden)}
        self.gated = {t: index[hidden.name] for t, hidden in observed_tensors(traced).items()}
        self.gate = _Gate()
        step = find_output_activation(traced)
        self.output_name = "linear" if step is None else activation_name(step.operation)
        self.output_step = step if self.output_name in _OF_SOFTMAX + _OF_SIGMOID else None
        self.output_layer = None
        if self.output_step and has_activation_argument(step.operation):
            self.output_layer = linear_copy(step)
        self.gate.built = True

    def logits(self, inputs: Any, gates: Sequence | None = None) -> tuple[Any, list[Any]]:
        """The logits (B, C), and the hidden activations.

        The logits are what goes into a softmax or a sigmoid at the output; of a model with any
        other output, or a linear one, the outputs themselves.

        Args:
            inputs: What the model takes.
            gates: For each hidden activation a float32 tensor (B, D); 1 by default.
        """
        flat = keras.tree.flatten(self.entry(inputs, training=False))
        activations = {}

        def pass_gate(tensor, value):
            if tensor not in self.gated:
                return value
            activations[tensor] = value
            if gates is None:
                return value
            return self.gate(value, gates[self.gated[tensor]], axis=tensor.channel_axis)

        values = self.graph.run(flat, call=self._call_step, transform=pass_gate)
        logits = ops.cast(values[self.graph.outputs[0]], "float32")
        return logits, self.activations_of({**values, **activations})

    def losses(self, logits: Any, ids: Any) -> Any:
        """The loss of each sample (B,): cross-entropy, binary behind a sigmoid.

        Args:
            logits: Float tensor (B, C).
            ids: int32 tensor (B,): the classes of the samples, C for those of none.
        """
        target = ops.one_hot(ids, logits.shape[-1], dtype=logits.dtype)
        if self.output_name in _OF_SIGMOID:
            return ops.sum(ops.softplus(logits) - target * logits, axis=-1)
        return -ops.sum(target * ops.log_softmax(logits, axis=-1), axis=-1)

    def _call_step(self, step, args, kwargs):
        if step is not self.output_step:
            return step.operation(*args, **kwargs)
        return args[0] if self.output_layer is None else self.output_layer(*args, **kwargs)


class _Gate(keras.layers.Layer):
    """Multiplies by gates in float32; passes Keras's masks on."""

    def __init__(self):
        super().__init__(dtype="float32", autocast=False, name="gate")
        self.supports_masking = True

    def call(self, values, gate, axis):
        shape = [-1 if i == 0 else 1 for i in range(len(values.shape))]
        shape[axis] = gate.shape[-1]
        product = ops.cast(values, "float32") * ops.reshape(gate, shape)
        return ops.cast(product, values.dtype)


def linear_copy(step: Any) -> keras.layers.Layer:
    """The step's layer without its activation, on tensors of its own."""
    copy = copy_operation(step.operation, f"{step.name}_logits", activation="linear")
    copy(*(keras.Input(batch_shape=t.shape, dtype=t.keras_tensor.dtype) for t in step.inputs))
    copy_weights(copy, step.operation)
    return copy
