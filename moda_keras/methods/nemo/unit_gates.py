"""The gates of a `NeMoModel`: where its mask generators read and what they multiply."""

import keras

from moda_keras.graph import Graph, Step, Tensor, activation_name, layer_name
from moda_keras.methods.mask_generator import generate_mask

# Layers that leave the units of their one input in place, as calls of `keras.ops` that are
# activations do: they may lie between the layer whose units are gated and the hidden activation.
_PASSED_THROUGH = (
    keras.layers.Activation,
    keras.layers.BatchNormalization,
    keras.layers.Dropout,
    keras.layers.ELU,
    keras.layers.LayerNormalization,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.ReLU,
)


def generator_source(graph: Graph, hidden: Tensor) -> Tensor:
    """What the mask generator of a hidden activation reads.

    That is the input of the dense or convolutional layer whose units they are. Where the layers
    before the non-linearity merge several tensors, as behind a residual connection, it is the
    hidden activation itself.

    Args:
        graph: The graph of the model.
        hidden: The tensor of the hidden activation.

    Returns:
        A tensor of the graph.
    """
    producers = {tensor: step for step in graph.steps for tensor in step.outputs}
    step = producers[hidden]
    while _passes_through(step) and step.inputs[0] in producers:
        step = producers[step.inputs[0]]
    has_one_input = len(step.inputs) == 1
    return step.inputs[0] if has_one_input and _has_kernel(step) else hidden


def _passes_through(step: Step) -> bool:
    operation = step.operation
    is_call_of_keras_ops = not isinstance(operation, keras.layers.Layer)
    is_activation = is_call_of_keras_ops and activation_name(operation) != "linear"
    return len(step.inputs) == 1 and (is_activation or isinstance(operation, _PASSED_THROUGH))


def _has_kernel(step: Step) -> bool:
    return getattr(step.operation, "kernel", None) is not None


class UnitGate:
    """Generates the masks of a hidden activation, and multiplies it by them.

    The generator averages what it reads over all positions and applies two dense layers
    (`generate_mask`). The mask is marked as the hidden activation of the new model.

    Args:
        hidden: The tensor of the hidden activation, in the graph of the original.
        source: What the generator reads.
        name: Name of the hidden activation.
        names: The names that are taken; those of the new layers are added.
    """

    def __init__(self, hidden: Tensor, source: Tensor, name: str, names: set[str]):
        self.hidden, self.source = hidden, source
        self.name, self.names = name, names

    def __call__(
        self, value: keras.KerasTensor, source_value: keras.KerasTensor
    ) -> keras.KerasTensor:
        """The hidden activation, gated.

        Args:
            value: Its symbolic value in the new model.
            source_value: That of the source.

        Returns:
            A symbolic tensor of the same shape.
        """
        units = self.hidden.channels
        mask = generate_mask(
            self._pool(source_value), units, dense=keras.layers.Dense, named=self._named
        )
        if len(value.shape) > 2:
            shape = [1] * (len(value.shape) - 1)
            shape[self.hidden.channel_axis - 1] = units
            mask = keras.layers.Reshape(shape, name=self._named("mask_shape"))(mask)
        return keras.layers.Multiply(name=self._named("gated"))([value, mask])

    def _pool(self, value: keras.KerasTensor) -> keras.KerasTensor:
        """The mean over the positions, (B, channels)."""
        axis, rank = self.source.channel_axis, len(value.shape)
        if rank == 3 and axis == 2:  # leaves padded time steps out
            return keras.layers.GlobalAveragePooling1D(name=self._named("pool"))(value)
        positions = tuple(i for i in range(1, rank) if i != axis)
        return keras.ops.mean(value, axis=positions) if positions else value

    def _named(self, role: str) -> str:
        return layer_name(f"{self.name}_{role}", self.names)
