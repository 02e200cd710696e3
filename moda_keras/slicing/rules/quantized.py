"""Dense layers that Keras has quantized to int8 or int4.

A quantized layer may scale its inputs by the largest magnitude in a row, so a channel with a
constant value has to be there; zeros leave the scale as it is.
"""

import math
from typing import Any

import keras
import numpy as np

from moda_keras.graph import named_weights
from moda_keras.slicing.channels import Channels
from moda_keras.slicing.registry import Rule, Slice, WeightSlice, keeps_channel_axis, register_rule
from moda_keras.slicing.rules.dense_like import lora_names, lora_slices


def is_int8(layer: Any) -> bool:
    """Whether a layer is quantized to int8."""
    return getattr(layer, "quantization_mode", None) == "int8"


@register_rule(keras.layers.Dense)
class Int8Dense(Rule):
    """Slices the kernel, and the scales of the outputs."""

    mode = "int8"
    weight_names = ("kernel", "kernel_scale")

    def applies(self, step):
        layer = step.operation
        expected = {*self.weight_names, *(["bias"] if layer.use_bias else []), *lora_names(layer)}
        is_known = {name for name, _ in named_weights(layer)} == expected
        return layer.quantization_mode == self.mode and is_known and keeps_channel_axis(step)

    def needs(self, step, needed):
        return [np.full(step.inputs[0].channels, needed.any())]

    def slice(self, step, inputs, wanted):
        layer = step.operation
        source = self.source(layer, inputs[0].explicit(np.flatnonzero(inputs[0].const)))
        weights = self.kernel_slices(layer, source.kept, wanted)
        weights |= lora_slices(layer, source.kept, wanted)
        if layer.use_bias:
            weights["bias"] = WeightSlice({0: wanted})
        output = Channels.full(step.outputs[0].channels).exactly(wanted)
        return Slice([source], output, {"units": len(wanted)}, weights)

    def source(self, layer, source: Channels) -> Channels:
        """The inputs that the new layer reads."""
        return source

    def kernel_slices(self, layer, read, wanted) -> dict[str, WeightSlice]:
        return {
            "kernel": WeightSlice({0: read, 1: wanted}),
            "kernel_scale": WeightSlice({0: wanted}),
        }


@register_rule(keras.layers.Dense)
class Int4Dense(Int8Dense):
    """Unpacks the kernel, two values of which share a byte, slices it, and packs it again."""

    mode = "int4"

    def applies(self, step):
        return super().applies(step) and packed_axis(step.operation) is not None

    def kernel_slices(self, layer, read, wanted):
        axis = packed_axis(layer)
        kernel = _unpacked(layer, axis)[np.ix_(read, wanted)]
        packed, *_ = keras.quantizers.pack_int4(keras.ops.convert_to_tensor(kernel, "int8"), axis)
        return {
            "kernel": WeightSlice({}, values=keras.ops.convert_to_numpy(packed)),
            "kernel_scale": WeightSlice({-1: wanted}),
        }


@register_rule(keras.layers.Dense)
class GroupedInt4Dense(Int4Dense):
    """As `Int4Dense`; every block of inputs has scales of its own.

    The number of groups follows from that of the inputs. Where the inputs that are left lie in more
    groups than that, all inputs stay.
    """

    weight_names = ("kernel", "kernel_scale", "kernel_zero", "g_idx")

    def source(self, layer, source):
        groups = _groups(layer)
        used = np.unique(groups[source.kept])
        fits = len(used) == math.ceil(len(source.kept) / np.sum(groups == 0))
        return source if fits else source.exactly(np.arange(source.size))

    def kernel_slices(self, layer, read, wanted):
        used, new = np.unique(_groups(layer)[read], return_inverse=True)
        scales = WeightSlice({0: used, 1: wanted})
        return super().kernel_slices(layer, read, wanted) | {
            "kernel_scale": scales,
            "kernel_zero": scales,
            "g_idx": WeightSlice({}, values=new.astype("float32")),
        }


def packed_axis(layer: keras.layers.Dense) -> int | None:
    """The axis of the int4 kernel along which two values share a byte; None if it is not known."""
    inputs, packed = layer.input_spec.axes[-1], _weight(layer, "kernel").shape
    if tuple(packed) == (inputs, math.ceil(layer.units / 2)):
        return 1
    return 0 if tuple(packed) == (math.ceil(inputs / 2), layer.units) else None


def _unpacked(layer: keras.layers.Dense, axis: int) -> np.ndarray:
    length = layer.units if axis == 1 else layer.input_spec.axes[-1]
    packed = keras.ops.convert_to_tensor(_weight(layer, "kernel"))
    return keras.ops.convert_to_numpy(keras.quantizers.unpack_int4(packed, length, axis))


def _groups(layer: keras.layers.Dense) -> np.ndarray:
    return keras.ops.convert_to_numpy(_weight(layer, "g_idx")).astype(int)


def _weight(layer: keras.layers.Dense, name: str) -> keras.Variable:
    return dict(named_weights(layer))[name]
