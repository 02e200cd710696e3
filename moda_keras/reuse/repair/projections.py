"""Layers that project channels, as matrices: rows of inputs and of outputs, and the kernel."""

from abc import ABC, abstractmethod

import keras
import numpy as np

from moda_keras.graph import Step, has_changed_weights, labels_of_einsum_dense

CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)


class Projection(ABC):
    """A layer of the new model that multiplies rows of its input by a matrix, in G groups.

    Args:
        layer: The layer.
        step: The original layer's call.
    """

    groups = 1

    def __init__(self, layer: keras.layers.Layer, step: Step):
        self.layer = layer
        self.step = step

    @abstractmethod
    def positions(self, output_shape: tuple[int, ...]) -> int:
        """P, the number of positions of one sample, given the shape of an output (B, ...)."""

    @abstractmethod
    def rows(self, inputs: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Rows of the input.

        Args:
            inputs: What goes into the layer, (B, ...).
            chosen: Int array (B, n), the positions of every sample.

        Returns:
            Float array (G, B * n, D).
        """

    @abstractmethod
    def at(self, outputs: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Chosen positions of a tensor with the output's positions.

        Args:
            outputs: Array (B, ...); its channels may be others than the layer's.
            chosen: Int array (B, n), the positions of every sample.

        Returns:
            Array (B * n, channels, ...): with what is behind the channels in an EinsumDense.
        """

    def grouped(self, values: np.ndarray) -> np.ndarray:
        """What `at` gives, at the layer's own channels, as rows (G, B * n, O)."""
        return values.reshape(len(values), self.groups, -1).swapaxes(0, 1)

    @abstractmethod
    def matrix(self, kernel: np.ndarray) -> np.ndarray:
        """The kernel as an array (G, D, O)."""

    @abstractmethod
    def kernel(self, matrix: np.ndarray) -> np.ndarray:
        """The inverse of `matrix`."""

    def bias(self, values: np.ndarray) -> np.ndarray:
        """Values (G, O) in the shape of the layer's bias."""
        return values.reshape(-1)


class DenseProjection(Projection):
    """Dense: every position of the leading axes is a row."""

    def positions(self, output_shape):
        return int(np.prod(output_shape[1:-1]))

    def rows(self, inputs, chosen):
        return _at(inputs.reshape(len(inputs), -1, inputs.shape[-1]), chosen)[np.newaxis]

    def at(self, outputs, chosen):
        return _at(outputs.reshape(len(outputs), -1, outputs.shape[-1]), chosen)

    def matrix(self, kernel):
        return kernel[np.newaxis]

    def kernel(self, matrix):
        return matrix[0]


class ConvolutionProjection(Projection):
    """A convolution, grouped or not: the patch at every position of the output is a row."""

    def __init__(self, layer, step):
        super().__init__(layer, step)
        self.groups = layer.groups
        self.is_first = layer.data_format == "channels_first"
        self.rank = len(layer.kernel_size)

    def positions(self, output_shape):
        return int(np.prod(output_shape[2:] if self.is_first else output_shape[1:-1]))

    def rows(self, inputs, chosen):
        if self.is_first:
            inputs = np.moveaxis(inputs, 1, -1)
        windows = self._windows(inputs)
        samples = np.arange(len(chosen))[:, np.newaxis]
        places = np.unravel_index(chosen, windows.shape[1 : 1 + self.rank])
        patches = windows[(samples, *places)]  # (B, n, channels, *kernel)
        patches = patches.reshape(chosen.size, self.groups, -1, *self.layer.kernel_size)
        patches = np.moveaxis(patches, 2, -1)  # (rows, groups, *kernel, channels of the group)
        return patches.reshape(chosen.size, self.groups, -1).swapaxes(0, 1)

    def at(self, outputs, chosen):
        if self.is_first:
            outputs = np.moveaxis(outputs, 1, -1)
        return _at(outputs.reshape(len(outputs), -1, outputs.shape[-1]), chosen)

    def matrix(self, kernel):
        flat = kernel.reshape(-1, kernel.shape[-1])
        return flat.reshape(len(flat), self.groups, -1).swapaxes(0, 1)

    def kernel(self, matrix):
        return matrix.swapaxes(0, 1).reshape(tuple(self.layer.kernel.shape))

    def _windows(self, inputs: np.ndarray) -> np.ndarray:
        """A view of shape (B, *positions, channels, *kernel)."""
        layer = self.layer
        reach = [
            (k - 1) * d + 1 for k, d in zip(layer.kernel_size, layer.dilation_rate, strict=True)
        ]
        lengths = zip(inputs.shape[1:-1], reach, layer.strides, strict=True)
        borders = [_border(layer.padding, *each) for each in lengths]
        padded = np.pad(inputs, [(0, 0), *borders, (0, 0)])
        axes = tuple(range(1, 1 + self.rank))
        windows = np.lib.stride_tricks.sliding_window_view(padded, reach, axes)
        strided = tuple(slice(None, None, stride) for stride in layer.strides)
        dilated = tuple(slice(None, None, rate) for rate in layer.dilation_rate)
        return windows[(slice(None), *strided, slice(None), *dilated)]


class EinsumProjection(Projection):
    """EinsumDense: the axes that the input shares with the kernel are summed over."""

    def __init__(self, layer, step):
        super().__init__(layer, step)
        self.source, self.weight, self.result = labels_of_einsum_dense(step)
        self.summed = [label for label in self.source if label in self.weight]
        self.new = [label for label in self.result if label in self.weight]
        self.others = [label for label in self.source if label not in self.weight]

    def positions(self, output_shape):
        lengths = dict(zip(self.result, output_shape, strict=True))
        return int(np.prod([lengths[label] for label in self.others[1:]]))

    def rows(self, inputs, chosen):
        return self.grouped(self._at(inputs, self.source, self.summed, chosen))

    def at(self, outputs, chosen):
        return self._at(outputs, self.result, self.new, chosen)

    def matrix(self, kernel):
        order = [self.weight.index(label) for label in (*self.summed, *self.new)]
        summed = np.prod([kernel.shape[axis] for axis in order[: len(self.summed)]])
        return kernel.transpose(order).reshape(1, int(summed), -1)

    def kernel(self, matrix):
        lengths = dict(zip(self.weight, self.layer.kernel.shape, strict=True))
        order = (*self.summed, *self.new)
        axes = [order.index(label) for label in self.weight]
        return matrix.reshape([lengths[label] for label in order]).transpose(axes)

    def bias(self, values):
        return values.reshape(tuple(self.layer.bias.shape))

    @property
    def has_full_bias(self) -> bool:
        """Whether the layer's bias has one value for each output."""
        return [x for x in self.result if x in (self.layer.bias_axes or "")] == self.new

    def _at(self, values, labels, last, chosen) -> np.ndarray:
        values = values.transpose([labels.index(label) for label in (*self.others, *last)])
        behind = values.shape[len(self.others) :]
        rows = _at(values.reshape(len(values), -1, int(np.prod(behind))), chosen)
        return rows.reshape(-1, *behind)


def projection_of(layer: keras.layers.Layer, step: Step) -> Projection | None:
    """A layer as a projection; None if it is of another kind.

    Args:
        layer: The layer of the new model.
        step: The original layer's call.
    """
    names = {weight.name for weight in getattr(layer, "weights", ())}
    if not names <= {"kernel", "bias"} or "kernel" not in names or has_changed_weights(layer):
        return None
    if type(layer) is keras.layers.Dense:
        return DenseProjection(layer, step)
    if type(layer) in CONVOLUTIONS:
        return ConvolutionProjection(layer, step)
    if type(layer) is keras.layers.EinsumDense:
        return _einsum_projection(layer, step)
    return None


def _einsum_projection(layer, step) -> Projection | None:
    """None if the kernel or the bias differs by position, or the batch axis is not the first."""
    found = EinsumProjection(layer, step)
    if layer.bias is not None and not found.has_full_bias:
        return None
    is_plain = set(found.source) & set(found.weight) & set(found.result) == set()
    same_order = [label for label in found.result if label in found.others] == found.others
    is_first = bool(found.others) and found.source[0] == found.result[0] == found.others[0]
    return found if is_plain and same_order and is_first else None


def _at(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Chosen positions of an array (B, P, D), as rows (B * n, D)."""
    rows = np.take_along_axis(values, chosen[:, :, np.newaxis], axis=1)
    return rows.reshape(-1, values.shape[-1])


def _border(padding: str, length: int, reach: int, stride: int) -> tuple[int, int]:
    """Zeros before and after one axis, as Keras pads: TensorFlow's "same" on every backend."""
    if padding == "valid":
        return 0, 0
    if padding == "causal":
        return reach - 1, 0
    missing = max((-(-length // stride) - 1) * stride + reach - length, 0)
    return missing // 2, missing - missing // 2
