"""Grouped convolutions: every output channel uses the input channels of its group."""

import keras
import numpy as np

from moda_keras.slicing.activations import apply_to_constants
from moda_keras.slicing.channels import Channels, mask_of
from moda_keras.slicing.registry import Rule, Slice, WeightSlice, keeps_channel_axis, register_rule
from moda_keras.slicing.rules.dense_like import has_zero_border


@register_rule(keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
class GroupedConvolution(Rule):
    """Drops whole groups: those with no needed output and those with constant output.

    The other groups keep all inputs, and the same number of output channels each, as the layer
    requires.
    """

    def applies(self, step):
        layer = step.operation
        expected = {"kernel", "bias"} if layer.use_bias else {"kernel"}
        names = {weight.name for weight in layer.weights}
        return layer.groups > 1 and names == expected and keeps_channel_axis(step)

    def needs(self, step, needed):
        groups = step.operation.groups
        is_needed = needed.reshape(groups, -1).any(axis=1)
        return [np.repeat(is_needed, step.inputs[0].channels // groups)]

    def slice(self, step, inputs, wanted):
        layer, source = step.operation, inputs[0]
        members = source.size // layer.groups
        varies = self.varies(layer, source).reshape(layer.groups, members).any(axis=1)
        table = mask_of(wanted, step.outputs[0].channels).reshape(layer.groups, -1)
        groups = np.flatnonzero(table.any(axis=1) & varies)
        groups = groups if len(groups) else np.flatnonzero(table.any(axis=1))[:1]
        kept = equally_many(table, groups)
        weights = {"kernel": WeightSlice({-1: kept}), "bias": WeightSlice({0: kept})}
        return Slice(
            [source.exactly(channels_of_groups(groups, members))],
            Channels(kept, self.constants(layer, source.const)),
            {"groups": len(groups), "filters": len(kept)},
            weights if layer.use_bias else {"kernel": weights["kernel"]},
        )

    def varies(self, layer, source) -> np.ndarray:
        """Bool array `(input channels,)`: which are no constants to the kernel."""
        is_border_seen = has_zero_border(layer) & (source.dropped_const != 0)
        return source.is_kept | is_border_seen

    def constants(self, layer, const) -> np.ndarray:
        """The output of constant inputs, `(output channels,)`."""
        kernel = keras.ops.convert_to_numpy(layer.kernel).astype("float64")
        sums = kernel.sum(axis=tuple(range(kernel.ndim - 2)))
        inputs = np.repeat(const.reshape(layer.groups, -1), sums.shape[1] // layer.groups, axis=0)
        output = (inputs.T * sums).sum(axis=0)
        if layer.use_bias:
            output += keras.ops.convert_to_numpy(layer.bias)
        return apply_to_constants(layer.activation, output)


def channels_of_groups(groups: np.ndarray, members: int) -> np.ndarray:
    """All channels of these groups of `members` each."""
    return (groups[:, None] * members + np.arange(members)).ravel()


def equally_many(table: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Channels, as many of each of `groups`, and among them all that `table` says.

    Args:
        table: Bool array `(all groups, members)`.
        groups: Int array.

    Returns:
        Int array of channels, sorted.
    """
    count = table[groups].sum(axis=1).max()
    members = np.argsort(~table[groups], axis=1, kind="stable")[:, :count]
    return np.sort((groups[:, None] * table.shape[1] + members).ravel())
