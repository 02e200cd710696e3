"""Dense and convolutional layers: every output channel uses every input channel.

With LoRA enabled, the factors are sliced as the kernel is, so that they can be trained on.
"""

import keras
import numpy as np

from moda_keras.graph import named_weights
from moda_keras.slicing.channels import Channels
from moda_keras.slicing.registry import Rule, Slice, WeightSlice, keeps_channel_axis, register_rule


@register_rule(
    keras.layers.Dense, keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D
)  # fmt: skip
class DenseLike(Rule):
    """Slices the kernel's inputs and outputs and folds constant inputs into the bias."""

    reads_idle = True
    input_axis, output_axis = -2, -1
    weight_names = ("kernel",)

    def applies(self, step):
        layer = step.operation
        return (
            {name for name, _ in named_weights(layer)} == self.expected_weights(layer)
            and keeps_channel_axis(step)
            and getattr(layer, "groups", 1) == 1
        )

    def expected_weights(self, layer) -> set[str]:
        """Names of the weights that the rule knows."""
        return {*self.weight_names, *(["bias"] if layer.use_bias else []), *lora_names(layer)}

    def needs(self, step, needed):
        return [np.full(step.inputs[0].channels, needed.any())]

    def slice(self, step, inputs, wanted):
        layer = step.operation
        source = inputs[0]
        if self.sees_border(layer):
            source = source.explicit(np.flatnonzero(source.const))
        weights = self.kernel_slices(layer, source, wanted)
        config = {"units" if isinstance(layer, keras.layers.Dense) else "filters": len(wanted)}
        folded = self.folded(layer, source.dropped_const)
        if layer.use_bias or folded is not None:
            added = None if folded is None else folded[wanted]
            weights["bias"] = WeightSlice({0: wanted}, added)
            config["use_bias"] = True
        return Slice(
            [source], Channels.full(step.outputs[0].channels).exactly(wanted), config, weights
        )

    def sees_border(self, layer) -> bool:
        """Whether a constant channel is no constant to the kernel, because of its zero border."""
        return has_zero_border(layer)

    def kernel_slices(self, layer, source, wanted) -> dict[str, WeightSlice]:
        axes = {self.input_axis: source.kept, self.output_axis: wanted}
        blank = self.blank(source)
        kernel = {"kernel": WeightSlice(axes, blank=blank)}
        return kernel | lora_slices(layer, source.kept, wanted, blank)

    def blank(self, source, multiplier=1) -> dict[int, np.ndarray]:
        """Which inputs of the kernel must have no effect."""
        if source.is_kept[source.kept].all():
            return {}
        return {self.input_axis: np.repeat(~source.is_kept[source.kept], multiplier)}

    def folded(self, layer, const) -> np.ndarray | None:
        """What constant inputs add to every output channel; None if they are all zero."""
        if not const.any():
            return None
        kernel = keras.ops.convert_to_numpy(layer.kernel).astype("float64")
        return const @ kernel.sum(axis=tuple(range(kernel.ndim - 2)))


@register_rule(
    keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose
)
class TransposedConvolution(DenseLike):
    """As `DenseLike`; a position sees part of the kernel only, so no constant is folded."""

    input_axis, output_axis = -1, -2

    def sees_border(self, layer):
        return True


@register_rule(keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)
class SeparableConvolution(DenseLike):
    """As `DenseLike`; the pointwise kernel reads every multiple of a depthwise channel."""

    weight_names = ("depthwise_kernel", "pointwise_kernel")

    def kernel_slices(self, layer, source, wanted):
        read = multiples(source.kept, layer.depth_multiplier)
        blank = self.blank(source, layer.depth_multiplier)
        return {
            "depthwise_kernel": WeightSlice({-2: source.kept}),
            "pointwise_kernel": WeightSlice({-2: read, -1: wanted}, blank=blank),
        }

    def folded(self, layer, const):
        if not const.any():
            return None
        depthwise = keras.ops.convert_to_numpy(layer.depthwise_kernel).astype("float64")
        pointwise = keras.ops.convert_to_numpy(layer.pointwise_kernel).astype("float64")
        per_channel = depthwise.sum(axis=tuple(range(depthwise.ndim - 2))) * const[:, None]
        return per_channel.reshape(-1) @ pointwise.reshape(pointwise.shape[-2:])


def lora_names(layer: keras.layers.Layer) -> set[str]:
    """Names of the weights that LoRA adds to a kernel."""
    return {"lora_kernel_a", "lora_kernel_b"} if getattr(layer, "lora_enabled", False) else set()


def lora_slices(
    layer: keras.layers.Layer,
    read: np.ndarray,
    wanted: np.ndarray,
    blank: dict[int, np.ndarray] | None = None,
) -> dict[str, WeightSlice]:
    """The factors (..., inputs, rank) and (rank, outputs) of a kernel (..., inputs, outputs)."""
    if not lora_names(layer):
        return {}
    return {
        "lora_kernel_a": WeightSlice({-2: read}, blank=blank or {}),
        "lora_kernel_b": WeightSlice({-1: wanted}),
    }


def has_zero_border(layer: keras.layers.Layer) -> bool:
    """Whether a convolution pads its input with zeros."""
    return getattr(layer, "padding", "valid") != "valid" and max(layer.kernel_size) > 1


def multiples(channels: np.ndarray, multiplier: int) -> np.ndarray:
    """The output channels of a depthwise convolution that come from the input `channels`."""
    return (channels[:, None] * multiplier + np.arange(multiplier)).ravel()
