"""Collects the steps of a model, nested models and composite layers inlined.

Tensors are read from `node.outputs`, never from `layer.output`, which is the layer's first call and
may belong to another graph.
"""

from collections.abc import Iterable
from typing import Any

import keras

from moda_keras.graph.call_recording import Unrecordable
from moda_keras.graph.channel_axes import last_axis
from moda_keras.graph.expansion import expand
from moda_keras.graph.functional_models import is_masked, nodes_in_order, runs_graph
from moda_keras.graph.graph import Step, Tensor
from moda_keras.graph.inlining import inline, is_composite
from moda_keras.graph.operations import accepts_training
from moda_keras.graph.time_masks import TimeMasks, is_given_masks


class Tracer:
    """Collects the steps of a model.

    Args:
        source: The `source`.
        optional: The inputs of the model that may be None.
        sees_masked_attention: Whether attention that is given Keras masks is seen through.

    Attributes:
        steps: The steps so far.
        opaque: Composite layers that stay one operation, and why.
        source: An input of the model: what goes into layers that read nothing.
        time_masks: The masks of time steps that Keras sends along with tensors.
    """

    def __init__(
        self,
        source: Tensor,
        optional: Iterable[Tensor] = (),
        *,
        sees_masked_attention: bool = True,
    ):
        self.steps: list[Step] = []
        self.opaque: dict[keras.layers.Layer, str] = {}
        self.source = source
        self.optional = set(optional)
        self.time_masks = TimeMasks(sees_attention=sees_masked_attention)
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
        nodes = list(nodes_in_order(model))
        for node in nodes:
            arguments = (node.arguments.args, node.arguments.kwargs)
            args, kwargs = keras.tree.map_structure(
                lambda leaf: known[id(leaf)] if isinstance(leaf, keras.KerasTensor) else leaf,
                arguments,
            )
            outputs = self.trace_call(steps, node, args, kwargs, training, masked, known)
            known.update(zip(map(id, node.outputs), outputs, strict=True))
        self.time_masks.find(nodes, known)
        return [known[id(t)] for t in model.outputs]

    def trace_call(
        self,
        steps: list[Step],
        node: Any,
        args: tuple,
        kwargs: dict,
        training: bool | None,
        masked: bool,
        known: dict[int, Tensor] | None = None,
    ) -> list[Tensor]:
        """Appends the steps of one call, and returns its outputs.

        `known` has the tensors by their symbolic ones; without it, masks are not followed.
        """
        operation = node.operation
        mode = training if kwargs.get("training") is None else kwargs["training"]
        inputs = [leaf for leaf in keras.tree.flatten((args, kwargs)) if isinstance(leaf, Tensor)]
        is_fed = masked or any(map(is_masked, node.input_tensors))
        is_fed = is_fed or any(map(self.time_masks.has, inputs)) or is_given_masks(kwargs)
        if runs_graph(operation):
            passed = (args, {name: value for name, value in kwargs.items() if name != "mask"})
            fed = [leaf for leaf in keras.tree.flatten(passed) if isinstance(leaf, Tensor)]
            outputs = self.trace_into(steps, operation, fed, mode, is_fed)
            if is_fed:
                self.time_masks.note_whole([*inputs, *outputs])
            return outputs
        start = len(steps)
        inside = self.see_parts(steps, node, args, kwargs, training, masked, is_fed, known)
        if inside is None and is_composite(operation):
            inside = self.see_through(steps, operation, args, kwargs, mode, is_fed)
        is_whole = inside is None
        if is_whole:
            # `base(x, training=False)` asks for this mode of every layer inside.
            if training is not None and accepts_training(operation):
                kwargs = {"training": training, **_drop_none(kwargs, "training")}
            inside = [Tensor(t, last_axis(t)) for t in node.outputs]
            steps.append(Step(operation, args, kwargs, inside))
        self.time_masks.note(
            node, args, kwargs, inside, steps[start:], is_fed=is_fed, is_whole=is_whole
        )
        return inside

    def see_parts(
        self,
        steps: list[Step],
        node: Any,
        args: tuple,
        kwargs: dict,
        training: bool | None,
        masked: bool,
        is_fed: bool,
        known: dict[int, Tensor] | None,
    ) -> list[Tensor] | None:
        """Appends the parts of one of Keras's layers; None if it stays one operation."""
        operation, masks = node.operation, {}
        if is_fed:
            if masked or known is None:
                return None
            start, found = len(steps), dict(known)
            masks = self.time_masks.given(steps, node, args, kwargs, found)
            if masks is None:
                return None
        outputs = expand(
            steps, operation, args, {**kwargs, **masks}, training, self.time_masks.masks
        )
        if is_fed and outputs is None:
            del steps[start:]
        elif is_fed:
            known.update(found)
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
        if self.optional.intersection(filter(_is_tensor, keras.tree.flatten((args, kwargs)))):
            self.opaque[layer] = "one of its inputs may be None"
            return None

        def trace_node(steps: list[Step], node: Any, args: tuple, kwargs: dict) -> list[Tensor]:
            return self.trace_call(steps, node, args, kwargs, training, masked=False)

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


def _is_tensor(leaf: Any) -> bool:
    return isinstance(leaf, Tensor)


def _drop_none(mapping: dict, key: str) -> dict:
    return {k: v for k, v in mapping.items() if k != key or v is not None}
