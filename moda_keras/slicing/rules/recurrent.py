"""Recurrent layers: the units of the state, and their copies in every gate."""

import keras
import numpy as np

from moda_keras.slicing.channels import Channels
from moda_keras.slicing.registry import Rule, Slice, WeightSlice, register_rule
from moda_keras.slicing.rules.channelwise import Channelwise

_GATES = {keras.layers.SimpleRNN: 1, keras.layers.GRU: 3, keras.layers.LSTM: 4}


@register_rule(keras.layers.SimpleRNN, keras.layers.GRU, keras.layers.LSTM)
class Recurrent(Rule):
    """Slices the gates by unit, and constant inputs go into the bias.

    A masked unit is zero for all others at every step in time: the masked model has no weights from
    it, the sliced model has no such unit.
    """

    several_outputs = True
    feeds_back = True

    def applies(self, step):
        layer = step.operation
        expected = {"kernel", "recurrent_kernel", *(["bias"] if layer.use_bias else [])}
        has_own_state = len(step.inputs) == 1 and not layer.stateful
        return has_own_state and {weight.name for weight in layer.weights} == expected

    def needs(self, step, needed):
        return [np.ones(step.inputs[0].channels, dtype=bool)]

    def slice(self, step, inputs, wanted):
        layer, source, units = step.operation, inputs[0], wanted[0]
        # Behind a Permute, the channels are the steps in time, and all are read.
        reads_channels = step.inputs[0].channel_axis == 2
        source = source if reads_channels else source.exactly(np.arange(source.size))
        gates = _gates(layer)
        places = (np.arange(gates)[:, None] * layer.units + units).ravel()
        weights = {
            "kernel": WeightSlice({1: places} | ({0: source.kept} if reads_channels else {})),
            "recurrent_kernel": WeightSlice({0: units, 1: places}),
        }
        config = {"units": len(units)}
        added = self.folded(layer, source.dropped_const)
        if layer.use_bias or added is not None:
            config["use_bias"] = True
            axes = {0: np.arange(2), 1: places} if _has_two_biases(layer) else {0: places}
            weights["bias"] = WeightSlice(axes, None if added is None else added[..., places])
        outputs = [Channels.full(layer.units).exactly(units) for _ in step.outputs]
        return Slice([source], outputs, config, weights)

    def folded(self, layer, const) -> np.ndarray | None:
        """What constant inputs add to the bias, in its shape; None if they are all zero."""
        if not const.any():
            return None
        added = const @ keras.ops.convert_to_numpy(layer.cell.kernel).astype("float64")
        return np.stack([added, np.zeros_like(added)]) if _has_two_biases(layer) else added

    def masked_weights(self, step, mask):
        return {"recurrent_kernel": mask[:, None]}


def _gates(layer: keras.layers.RNN) -> int:
    return next(count for kind, count in _GATES.items() if isinstance(layer, kind))


def _has_two_biases(layer: keras.layers.RNN) -> bool:
    """Whether the recurrent kernel of a GRU has a bias of its own, the second."""
    return getattr(layer, "reset_after", False)


@register_rule("Flip")
class Flip(Channelwise):
    """Turns sequences or maps around, not their channels."""

    def applies(self, step):
        axis = step.operation.axis
        axes = range(len(step.outputs[0].shape)) if axis is None else np.atleast_1d(axis)
        rank = len(step.outputs[0].shape)
        return super().applies(step) and step.outputs[0].channel_axis not in {
            a % rank for a in axes
        }
