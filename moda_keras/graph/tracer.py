"""Collects the steps of a model, nested models and composite layers inlined.

Tensors are read from `node.outputs`, never from `layer.output`, which is the layer's first call and
may belong to another graph.
"""

from typing import Any

import keras

from moda_keras.graph.call_recording import Unrecordable
from moda_keras.graph.channel_axes import last_axis
from moda_keras.graph.expansion import expand
from moda_keras.graph.functional_models import is_masked, nodes_in_order, runs_graph
from moda_keras.graph.graph import Step, Tensor
from moda_keras.graph.inlining import inline, is_composite
from moda_keras.graph.operations import accepts_training


class Tracer:
    """Collects the steps of a model.

    Attributes:
        steps: The steps so far.
        opaque: Composite layers that stay one operation, and why.
        source: An input of the model: what goes into layers that read nothing.
    """

    def __init__(self, source: Tensor):
        self.steps: list[Step] = []
        self.opaque: dict[keras.layers.Layer, str] = {}
        self.source = source
        self.depth = 0  # of composite layers that are being seen through
        self.proves_each = False

    def trace_into(
        self,
        steps: list[Step],
        model: keras.Model,
        inputs: list[Tensor],
        training: bool | None,
        masked: bool = False,
    ) -> list[Tensor]:
        """Appends the steps of `model`, fed by `inputs`, and returns its outputs.

        `masked` says that Keras sends masks of time steps along with `inputs`, unseen by the model.
        """
        known = {id(t): tensor for t, tensor in zip(model.inputs, inputs, strict=True)}
        for node in nodes_in_order(model):
            arguments = (node.arguments.args, node.arguments.kwargs)
            args, kwargs = keras.tree.map_structure(
                lambda leaf: known[id(leaf)] if isinstance(leaf, keras.KerasTensor) else leaf,
                arguments,
            )
            is_fed_masks = masked or any(map(is_masked, node.input_tensors))
            outputs = self.trace_call(steps, node, args, kwargs, training, is_fed_masks)
            known.update(zip(map(id, node.outputs), outputs, strict=True))
        return [known[id(t)] for t in model.outputs]

    def trace_call(
        self,
        steps: list[Step],
        node: Any,
        args: tuple,
        kwargs: dict,
        training: bool | None,
        masked: bool,
    ) -> list[Tensor]:
        """Appends the steps of one call, and returns its outputs."""
        operation = node.operation
        mode = training if kwargs.get("training") is None else kwargs["training"]
        if runs_graph(operation):
            passed = (args, {name: value for name, value in kwargs.items() if name != "mask"})
            fed = [leaf for leaf in keras.tree.flatten(passed) if isinstance(leaf, Tensor)]
            return self.trace_into(steps, operation, fed, mode, masked)
        inside = None if masked else expand(steps, operation, args, kwargs, training)
        if inside is None and is_composite(operation):
            inside = self.see_through(steps, operation, args, kwargs, mode, masked)
        if inside is not None:
            return inside
        # `base(x, training=False)` asks for this mode of every layer inside.
        if training is not None and accepts_training(operation):
            kwargs = {"training": training, **_drop_none(kwargs, "training")}
        outputs = [Tensor(t, last_axis(t)) for t in node.outputs]
        steps.append(Step(operation, args, kwargs, outputs))
        return outputs

    def see_through(
        self,
        steps: list[Step],
        layer: keras.layers.Layer,
        args: tuple,
        kwargs: dict,
        training: bool | None,
        masked: bool,
    ) -> list[Tensor] | None:
        """Appends the steps inside a composite layer; None if it stays one operation."""
        if masked:
            self.opaque[layer] = "Keras sends masks of time steps along with its inputs"
            return None

        def trace_node(steps: list[Step], node: Any, args: tuple, kwargs: dict) -> list[Tensor]:
            is_fed_masks = any(map(is_masked, node.input_tensors))
            return self.trace_call(steps, node, args, kwargs, training, is_fed_masks)

        is_outermost = self.depth == 0
        self.depth += 1
        try:
            prove = is_outermost or self.proves_each
            return inline(steps, layer, args, kwargs, trace_node, source=self.source, prove=prove)
        except Unrecordable as error:
            self.opaque[layer] = str(error)
        finally:
            self.depth -= 1
        if not is_outermost or self.proves_each:
            return None
        # Perhaps one of the layers inside alone is to blame.
        self.proves_each = True
        try:
            return self.see_through(steps, layer, args, kwargs, training, masked)
        finally:
            self.proves_each = False


def _drop_none(mapping: dict, key: str) -> dict:
    return {k: v for k, v in mapping.items() if k != key or v is not None}
