"""EinsumDense and einsum: projections to heads and back, and products head by head."""

import keras
import numpy as np

from moda_keras.graph import labels_of_einsum, labels_of_einsum_dense
from moda_keras.slicing.channels import Channels
from moda_keras.slicing.registry import Rule, Slice, WeightSlice, register_rule
from moda_keras.slicing.rules.channelwise import Channelwise
from moda_keras.slicing.rules.dense_like import lora_names
from moda_keras.slicing.rules.quantized import is_int8


@register_rule(keras.layers.EinsumDense)
class Projection(Rule):
    """Slices the kernel along the axis summed over and along the axis that it brings in.

    Of a projection to heads, or back, whole heads go.
    """

    def applies(self, step):
        layer = step.operation
        expected = {"kernel", *(["bias"] if layer.bias is not None else []), *lora_names(layer)}
        if is_int8(layer):
            expected |= {"kernel_scale"}
        source, kernel, result = labels_of_einsum_dense(step)
        read, made = self.channels(step)
        is_summed = read in kernel and read not in result
        is_new = made in kernel and made not in source
        return {w.name for w in layer.weights} == expected and is_summed and is_new

    def needs(self, step, needed):
        return [np.full(step.inputs[0].channels, needed.any())]

    def slice(self, step, inputs, wanted):
        layer = step.operation
        _, kernel, result = labels_of_einsum_dense(step)
        read, made = self.channels(step)
        has_bias_per_output = set(layer.bias_axes or "") >= set(kernel) & set(result)
        source = inputs[0]
        if is_int8(layer) or not has_bias_per_output:
            source = source.explicit(np.flatnonzero(source.const))
        axis = result.index(made) - len(result)
        weights = {
            "kernel": WeightSlice({kernel.index(read): source.kept, kernel.index(made): wanted})
        }
        weights |= self.lora_slices(layer, kernel, {read: source.kept, made: wanted})
        if is_int8(layer):  # in the shape of the output
            weights["kernel_scale"] = WeightSlice({axis: wanted})
        if made in (layer.bias_axes or ""):
            weights["bias"] = WeightSlice({axis: wanted}, self.folded(step, source, wanted))
        shape = list(layer.partial_output_shape)
        shape[axis] = len(wanted)
        output = Channels.full(step.outputs[0].channels).exactly(wanted)
        return Slice([source], output, {"output_shape": tuple(shape)}, weights)

    def lora_slices(self, layer, kernel: str, kept: dict[str, np.ndarray]) -> dict:
        """The factors: the kernel's axes but the last, and rank; rank, and the last."""
        if not lora_names(layer):
            return {}
        axes = {kernel.index(label): indices for label, indices in kept.items()}
        last = axes.pop(len(kernel) - 1, None)
        b = {} if last is None else {1: last}
        return {"lora_kernel_a": WeightSlice(axes), "lora_kernel_b": WeightSlice(b)}

    def channels(self, step) -> tuple[str, str]:
        """The labels of the input's and of the output's channels."""
        source, _, result = labels_of_einsum_dense(step)
        return source[step.inputs[0].channel_axis], result[step.outputs[0].channel_axis]

    def folded(self, step, source, wanted) -> np.ndarray | None:
        """The bias that constant input channels add to the `wanted` ones; None if zero."""
        layer, const = step.operation, source.dropped_const
        if not const.any():
            return None
        _, kernel, result = labels_of_einsum_dense(step)
        read, made = self.channels(step)
        new = "".join(label for label in result if label in kernel)
        values = keras.ops.convert_to_numpy(layer.kernel).astype("float64")
        added = np.einsum(f"{read},{kernel}->{new}", const, values).take(wanted, new.index(made))
        labels = result[-len(layer.bias.shape) :]
        lengths = dict(zip(new, added.shape, strict=True))
        return added.reshape([lengths.get(label, 1) for label in labels])


@register_rule("Einsum")
class HeadwiseProduct(Rule):
    """An einsum in which all inputs and the output have the channels."""

    def applies(self, step):
        labels = labels_of_einsum(step)
        if labels is None:
            return False
        tensors = zip([*labels[0], labels[1]], [*step.inputs, step.outputs[0]], strict=True)
        return len({labels[tensor.channel_axis] for labels, tensor in tensors}) == 1

    def needs(self, step, needed):
        return [needed] * len(step.inputs)

    def slice(self, step, inputs, wanted):
        output = Channels.full(len(inputs[0].const)).exactly(wanted)
        return Slice([source.exactly(wanted) for source in inputs], output)


@register_rule("DotProductAttention")
class DotProductAttention(HeadwiseProduct):
    """Attention of every head on its own. A mask or a bias, if any, is that of all heads."""

    def applies(self, step):
        heads, others = step.inputs[:3], step.inputs[3:]
        sizes = {tensor.channels for tensor in heads}
        axes = {tensor.channel_axis for tensor in heads}
        return len(sizes) == 1 and axes == {2} and all(t.shape[1] == 1 for t in others)

    def needs(self, step, needed):
        others = [np.ones(tensor.channels or 1, dtype=bool) for tensor in step.inputs[3:]]
        return [needed] * 3 + others

    def slice(self, step, inputs, wanted):
        others = [source.exactly(np.arange(source.size)) for source in inputs[3:]]
        decision = super().slice(step, inputs[:3], wanted)
        return Slice([*decision.inputs, *others], decision.output)


@register_rule(keras.layers.Reshape)
class ToldLength(Channelwise):
    """A Reshape that only states the length of an axis."""

    def applies(self, step):
        old, new = step.inputs[0].shape[1:], step.outputs[0].shape[1:]
        same = len(old) == len(new) and all(o in (None, n) for o, n in zip(old, new, strict=True))
        return same and old.count(None) == 1 and super().applies(step)

    def config(self, step, kept):
        shape = list(step.outputs[0].shape[1:])
        shape[step.outputs[0].channel_axis - 1] = len(kept)
        return {"target_shape": tuple(shape)}
