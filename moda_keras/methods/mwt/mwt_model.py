"""A CNN with a mask generator for every convolution."""

from typing import Any

import keras

from moda_keras.graph import (
    Graph,
    Step,
    Tensor,
    contains_marked_activation,
    in_structure_of,
    layer_name,
    new_inputs,
)
from moda_keras.methods.mwt.convolutions import Convolution, find_convolutions
from moda_keras.methods.mwt.kernel_masks import kernel_mask
from moda_keras.methods.mwt.layer_copies import LayerCopies
from moda_keras.slicing import Slicer
from moda_keras.training.modular_model import ModularModel


@keras.saving.register_keras_serializable(package="moda_keras")
class MwTModel(ModularModel):
    """A CNN with a mask generator for every convolution but the first: MwT's modular model.

    Make one with `MwTModel.from_model(cnn)`. Its hidden activations are the masks: what a
    `MwTLoss` acts on, and what `mwt.modularize` counts. It is a `ModularModel` in all else.

    Examples:
        >>> import keras
        >>> import moda_keras as mk
        >>> from moda_keras.methods import mwt
        >>> model = mwt.MwTModel.from_model(mk.zoo.small_cnn((8, 8, 1)))
        >>> model.hidden_activations
        [HiddenActivation(name='block2_conv1_mask', units=32), \
    HiddenActivation(name='block3_conv1_mask', units=64)]
        >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        >>> model.compile("adam", loss, modular_loss=mwt.MwTLoss())

    Source: MwT (ICSE 2024), section 3.2.
    """

    @classmethod
    def from_model(cls, model: keras.Model, name: str | None = None) -> "MwTModel":
        """Adds mask generators to a copy of any Functional or Sequential CNN.

        The mask multiplies the output of a convolution's BatchNormalization or GroupNormalization,
        if one follows it directly or behind an activation. Otherwise it multiplies the
        convolution's own output, before its activation: one that is part of the layer becomes a
        layer of its own. Convolutions that read the model's input and such that put out the
        class logits have no mask. Nested models are inlined.

        Args:
            model: A built Functional or Sequential model with one output (batch, C). It is not
                changed: the new model has copies of its layers, and begins with its weights.
            name: Name of the new model; that of `model` by default.

        Returns:
            A `MwTModel`.

        Raises:
            ValueError: If the model has no graph or several outputs, no convolution that gets a
                mask, a convolution that is called several times, or marked activations inside
                a layer.
        """
        slicer = Slicer(model)
        model = slicer.model
        found = find_convolutions(slicer.graph, slicer.on_logit_path)
        masked = [convolution for convolution in found if not convolution.is_first]
        _require_masks(model, found, masked)
        _refuse_inner_marks(slicer.graph)
        inputs, output = _Writer(slicer.graph, masked).write()
        return cls(*in_structure_of(model, inputs, output), name=name or model.name)


class _Writer:
    """Writes the graph of a model anew, with masks.

    Args:
        graph: The graph of the model.
        masked: The convolutions that get a mask.
    """

    def __init__(self, graph: Graph, masked: list[Convolution]):
        self.graph = graph
        self.copies = LayerCopies(graph)
        self.by_step = {convolution.step: convolution for convolution in masked}
        self.by_tensor = {convolution.masked: convolution for convolution in masked}
        self.masks: dict[Convolution, keras.KerasTensor] = {}

    def write(self) -> tuple[list, keras.KerasTensor]:
        """The inputs, flat, and the output."""
        inputs = new_inputs(self.graph.model)
        values = self.graph.run(inputs, call=self.call, transform=self.transform)
        self.copies.copy_weights()
        return inputs, values[self.graph.outputs[0]]

    def call(self, step: Step, args: tuple, kwargs: dict) -> Any:
        convolution = self.by_step.get(step)
        if convolution is None:
            return self.copies.call(step, args, kwargs)
        source = keras.tree.flatten((args, kwargs))[0]
        linear = {"activation": "linear"} if convolution.splits_activation else {}
        output = self.copies.call(step, args, kwargs, **linear)
        copy = self.copies.by_operation[convolution.layer]
        self.masks[convolution] = kernel_mask(source, copy, self.copies.names)
        return output

    def transform(self, tensor: Tensor, value: Any) -> Any:
        convolution = self.by_tensor.get(tensor)
        if convolution is None:
            return value
        layer, copy = convolution.layer, self.copies.by_operation[convolution.layer]
        value = keras.layers.Multiply(dtype=layer.dtype_policy, name=self.named(copy, "masked"))(
            [value, self.masks[convolution]]
        )
        if not convolution.splits_activation:
            return value
        name = self.named(copy, "activation")
        return keras.layers.Activation(layer.activation, dtype=layer.dtype_policy, name=name)(value)

    def named(self, layer: keras.layers.Layer, part: str) -> str:
        return layer_name(f"{layer.name}_{part}", self.copies.names)


def _require_masks(model: keras.Model, found: list, masked: list) -> None:
    if not masked:
        raise ValueError(
            "Expected a model with at least two convolutions, one behind the other: those that "
            f"read the model's input have no mask. Received: model {model.name!r} with the "
            f"convolutions {[convolution.layer.name for convolution in found]}"
        )


def _refuse_inner_marks(graph: Graph) -> None:
    layers = dict.fromkeys(step.operation for step in graph.steps)
    marking = [
        layer.name
        for layer in layers
        if isinstance(layer, keras.layers.Layer) and contains_marked_activation(layer)
    ]
    if marking:
        raise ValueError(
            "Expected a model without `ModularActivation` inside its layers, because the masks are "
            f"the marked activations of an MwTModel. Received: the layers {marking} with some"
        )
