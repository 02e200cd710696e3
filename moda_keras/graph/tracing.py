"""Reads the nodes of a Functional or Sequential model, nested models and composite layers inlined.

Tensors are read from `node.outputs`, never from `layer.output`, which is the layer's first call and
may belong to another graph.
"""

from collections.abc import Callable, Iterator
from typing import Any

import keras

from moda_keras.graph.call_recording import Unrecordable
from moda_keras.graph.channel_axes import assign_channel_axes, last_axis
from moda_keras.graph.expansion import expand
from moda_keras.graph.graph import Graph, Step, Tensor
from moda_keras.graph.inlining import inline, is_composite
from moda_keras.graph.operations import accepts_training


def _functional_class() -> type:
    """Keras exports no name for the class of `keras.Model(inputs, outputs)`."""
    tensor = keras.Input((1,), name="probe_of_functional_class")
    return type(keras.Model(tensor, tensor, name="probe_of_functional_class"))


Functional = _functional_class()


def runs_graph_alone(call: Callable) -> Callable:
    """Marks a model's `call` as doing only what the model's graph shows.

    A model whose class defines another `call` may do more: it is one opaque operation.
    """
    call.runs_graph_alone = True
    return call


def trace(model: keras.Model) -> Graph:
    """Reads a built Functional or Sequential model, nested models inlined.

    Args:
        model: A built Functional or Sequential model.

    Returns:
        Its `Graph`.

    Raises:
        ValueError: If the model has no graph (a subclassed model) or is not built yet.
    """
    require_graph(model)
    inputs = [Tensor(t, last_axis(t)) for t in model.inputs]
    tracer = _Tracer(inputs[0])
    outputs = tracer.trace_into(tracer.steps, model, inputs, training=None)
    in_graph = {step.operation for step in tracer.steps}
    opaque = {layer: why for layer, why in tracer.opaque.items() if layer in in_graph}
    graph = Graph(inputs, outputs, tracer.steps, model, opaque)
    assign_channel_axes(graph)
    return graph


def require_graph(model: keras.Model) -> None:
    """Raises a ValueError with advice if `model` has no readable graph."""
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"Expected `model` to be a keras.Model. Received: model={model} (of type {type(model)})"
        )
    if runs_graph(model):
        return
    if isinstance(model, keras.Sequential):
        raise ValueError(
            f"The model {model.name!r} is not built yet. Add a `keras.Input` as its first layer, "
            "or call `model.build(input_shape)`."
        )
    raise ValueError(
        "Expected a Functional or Sequential model, whose graph of layers can be read. Received "
        f"the subclassed model {model.name!r} (of type {type(model).__name__}), whose `call` hides "
        "it. Build the model with the functional API: `keras.Model(inputs, outputs)`."
    )


def require_single_output(model: keras.Model) -> None:
    """Raises a ValueError if `model` has several outputs or output values other than (B, C)."""
    if len(model.outputs) != 1:
        raise ValueError(
            "Expected a model with one output, the class logits or probabilities. Received: model "
            f"{model.name!r} with {len(model.outputs)} outputs. Pick one: "
            "`keras.Model(model.inputs, model.outputs[i])`."
        )
    shape = tuple(model.outputs[0].shape)
    if len(shape) == 2 and shape[-1] == 1:
        raise ValueError(
            "Expected a model whose output has shape (batch, classes) with at least 2 classes. "
            f"Received: model {model.name!r} with output shape {shape}. If it is a binary "
            "classifier, make a model of two classes of it: `mk.two_class_model(model)`"
        )
    if len(shape) != 2 or shape[-1] is None or shape[-1] < 2:
        raise ValueError(
            "Expected a model whose output has shape (batch, classes) with at least 2 classes. "
            f"Received: model {model.name!r} with output shape {shape}"
        )


def runs_graph(operation: Any) -> bool:
    """Whether `operation` is a built model that does only what its graph shows."""
    if not isinstance(operation, (Functional, keras.Sequential)):
        return False
    call = type(operation).call
    is_known = call in (Functional.call, keras.Sequential.call)
    is_plain = is_known or getattr(call, "runs_graph_alone", False)
    return is_plain and bool(getattr(operation, "outputs", None))


class _Tracer:
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


def is_masked(tensor: keras.KerasTensor) -> bool:
    """Whether Keras sends a mask of time steps along with a tensor."""
    return getattr(tensor, "_keras_mask", None) is not None


def nodes_in_order(model: keras.Model) -> Iterator[Any]:
    """The nodes from the model's inputs to its outputs, in topological order."""
    done = {id(t) for t in model.inputs}
    stack = [(t, False) for t in reversed(model.outputs)]
    while stack:
        tensor, inputs_done = stack.pop()
        if id(tensor) in done:
            continue
        operation, node_index, _ = tensor._keras_history
        node = operation._inbound_nodes[node_index]
        if not inputs_done:
            stack.append((tensor, True))
            stack.extend((t, False) for t in reversed(node.input_tensors))
            continue
        done.update(map(id, node.outputs))
        yield node


def _drop_none(mapping: dict, key: str) -> dict:
    return {k: v for k, v in mapping.items() if k != key or v is not None}
