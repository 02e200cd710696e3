"""The masks of time steps that Keras sends along with tensors while a model runs.

Keras keeps a mask as an attribute of a tensor. In a functional model it is symbolic, so that the
nodes show how it is made. They do not show that a call of `MultiHeadAttention` takes the masks off
the tensors that it is given: whoever reads such a tensor later gets no mask, and so does the next
attention behind a residual connection around the first.
"""

import inspect
from typing import Any

import keras
from keras import ops

from moda_keras.graph.channel_axes import last_axis
from moda_keras.graph.expansion import Recorder
from moda_keras.graph.functional_models import is_masked
from moda_keras.graph.graph import Step, Tensor
from moda_keras.graph.operations import is_keras_class, kind_of
from moda_keras.graph.plain_class import plain_class

_MAKERS = (keras.layers.Embedding, keras.layers.Masking)
_ATTENTION = (keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention)
# Without a mask of each input, there is none of the output.
_MERGING = (
    keras.layers.Add, keras.layers.Average, keras.layers.Maximum, keras.layers.Minimum,
    keras.layers.Multiply, keras.layers.Subtract,
)  # fmt: skip
# Operations that may put out the very tensor that they are given, mask and all.
_PASSING = {"Cast", "Identity", "Reshape", "StopGradient"}


class TimeMasks:
    """Follows the masks through the calls of a model, in the order of execution.

    Args:
        sees_attention: Whether calls of attention that are given masks may be seen through.

    Attributes:
        sent: By tensor, the symbolic mask that goes along with it when the model runs.
        unsure: Tensors of which it is not known whether and which mask goes along. A tensor that is
            in neither has no mask when the model runs, even if its symbolic tensor has one.
        masks, steps: `masks` and `mask_steps` of the `Graph`.
    """

    def __init__(self, *, sees_attention: bool):
        self.sees_attention = sees_attention
        self.sent: dict[Tensor, keras.KerasTensor] = {}
        self.unsure: set[Tensor] = set()
        self.masks: dict[Tensor, Tensor] = {}
        self.steps: list[Step] = []
        self._source: dict[Tensor, Tensor] = {}
        self._heads: dict[int, Tensor] = {}  # by identity of what the attention puts out
        self._sees_some = self._leaves_some = False

    @property
    def is_mixed(self) -> bool:
        """Whether some attention is seen through, and a layer that looks for masks stays whole.

        The parts of an attention take no masks off, so that the layer might find one that it does
        not find in the original.
        """
        return self._sees_some and self._leaves_some

    def has(self, tensor: Tensor) -> bool:
        """Whether a mask may go along with a tensor."""
        return tensor in self.sent or tensor in self.unsure

    # ------------------------------------------------------------------------ what goes in

    def given(
        self, steps: list[Step], node: Any, args: tuple, kwargs: dict, known: dict[int, Tensor]
    ) -> dict[str, Tensor | None] | None:
        """The masks that a call gets, as keyword arguments; the steps that make them are appended.

        Args:
            steps: The steps so far.
            node: Keras's node of the call.
            args: Positional arguments of the call, with a `Tensor` for each tensor.
            kwargs: Keyword arguments, likewise.
            known: Tensors by the identities of symbolic ones. New ones are added.

        Returns:
            Dict of masks; None if they are not known for certain.
        """
        layer = node.operation
        if type(layer) is keras.layers.Bidirectional:  # its node has the mask
            return {} if isinstance(kwargs.get("mask"), Tensor) else None
        if type(layer) is not keras.layers.MultiHeadAttention or not self.sees_attention:
            return None
        symbolic = dict(zip(_tensors((args, kwargs)), node.input_tensors, strict=True))
        bound = inspect.signature(layer.call).bind(*args, **kwargs).arguments
        found: dict[str, Tensor | None] = {}
        for name in ("query", "value", "key"):
            tensor, mask = bound.get(name), bound.get(f"{name}_mask")
            if mask is None and isinstance(tensor, Tensor) and self.has(tensor):
                if tensor in self.unsure or not is_masked(symbolic[tensor]):
                    return None
                mask = append_mask(steps, self.sent[tensor], known)
            elif mask is not None and (name == "query" or not isinstance(mask, Tensor)):
                return None  # Keras ignores a mask of the query that is not on the tensor
            found[f"{name}_mask"] = mask
        return found

    # ----------------------------------------------------------------------- what comes out

    def note(
        self,
        node: Any,
        args: tuple,
        kwargs: dict,
        outputs: list[Tensor],
        steps: list[Step],
        *,
        is_fed: bool,
        is_whole: bool,
    ) -> None:
        """Notes a call: which masks come out, and which are taken off what goes in.

        Args:
            node: Keras's node.
            args: Positional arguments of the call, with a `Tensor` for each tensor.
            kwargs: Keyword arguments, likewise.
            outputs: What comes out.
            steps: The steps of the call.
            is_fed: Whether masks may go in.
            is_whole: Whether the call is one step.
        """
        layer, inputs = node.operation, _tensors((args, kwargs))
        for step in steps:
            self._note_sequence(step)
        is_others = isinstance(layer, keras.layers.Layer) and not _is_known(layer)
        looks_for_masks = is_others or isinstance(layer, _ATTENTION)
        if is_fed and looks_for_masks:
            self._leaves_some |= is_whole
            self._sees_some |= not is_whole
        if is_others or type(layer) is keras.layers.GroupQueryAttention:
            if is_fed or _makes_masks(layer):
                self.note_whole([*(inputs if is_fed else ()), *outputs])
            return
        if not isinstance(layer, keras.layers.Layer):
            if kind_of(layer) in _PASSING and any(map(self.has, inputs)):
                self.unsure.update(outputs)
            return
        if len(inputs) == len(outputs) == 1 and not layer.weights:
            self._source[outputs[0]] = self._root(inputs[0])
        self._note_outputs(node, args, kwargs, outputs)
        if isinstance(layer, keras.layers.MultiHeadAttention):
            self._take_off(inputs, layer)
            ends = [step for step in steps if step.operation is layer.output_dense]
            self._heads.update((id(node.outputs[0]), step.inputs[0]) for step in ends)

    def note_whole(self, tensors: list[Tensor]) -> None:
        """Notes a call that may do anything with the masks of tensors."""
        for tensor in tensors:
            self.sent.pop(tensor, None)
            self.unsure.add(tensor)

    def _note_outputs(self, node: Any, args: tuple, kwargs: dict, outputs: list[Tensor]) -> None:
        layer, inputs, read = node.operation, _tensors((args, kwargs)), _tensors(args[:1] or kwargs)
        in_graph = {t for t, s in zip(inputs, node.input_tensors, strict=True) if is_masked(s)}
        is_made = isinstance(layer, _MAKERS) or kwargs.get("mask") is not None
        is_as_in_graph = all((t in self.sent) if t in in_graph else not self.has(t) for t in read)
        if is_made or is_as_in_graph:
            pairs = zip(outputs, node.outputs, strict=True)
            self.sent.update((t, each._keras_mask) for t, each in pairs if is_masked(each))
        elif layer.supports_masking and not self._sends_none(layer, inputs, read):
            self.unsure.update(outputs)

    def _sends_none(
        self, layer: keras.layers.Layer, inputs: list[Tensor], read: list[Tensor]
    ) -> bool:
        """Whether a layer, of whose inputs one has lost its mask, sends none along."""
        if type(layer) in _MERGING and not all(map(self.has, inputs)):
            return True
        passes_on = len(inputs) == 1 or isinstance(layer, (*_MERGING, *_ATTENTION))
        is_certain = not any(t in self.unsure for t in read)
        return is_certain and passes_on and is_keras_class(type(layer))

    def _take_off(self, tensors: list[Tensor], layer: keras.layers.Layer) -> None:
        roots = {self._root(tensor) for tensor in tensors}
        for other in [tensor for tensor in self.sent if self._root(tensor) in roots]:
            # Of another dtype, it is a copy that loses its mask. And a dropout puts out the tensor
            # that it is given, but in inference alone.
            is_itself = other in tensors and other.keras_tensor.dtype == layer.compute_dtype
            del self.sent[other]
            if not is_itself:
                self.unsure.add(other)

    def _root(self, tensor: Tensor) -> Tensor:
        return self._source.get(tensor, tensor)

    # ------------------------------------------------------------------- masks of the graph

    def find(self, nodes: list[Any], known: dict[int, Tensor]) -> None:
        """Finds the masks of the tensors that come out of Keras's nodes.

        Args:
            nodes: The nodes.
            known: Their tensors by the identities of symbolic ones.
        """
        known = dict(known)
        for node in nodes:
            for symbolic in filter(is_masked, node.outputs):
                tensor = known[id(symbolic)]
                if len(tensor.shape) < 3:
                    continue
                mask = append_mask(self.steps, symbolic._keras_mask, known)
                if mask is not None:
                    self.masks.setdefault(tensor, mask)
                    self.masks.setdefault(self._heads.get(id(symbolic), tensor), mask)

    def _note_sequence(self, step: Step) -> None:
        """The mask of what a recurrent layer puts out: it may run backwards."""
        layer, mask = step.operation, step.kwargs.get("mask")
        is_sequence = isinstance(layer, keras.layers.RNN) and layer.return_sequences
        if not (is_sequence and isinstance(mask, Tensor)):
            return
        if layer.go_backwards:
            mask = Recorder(self.steps, None).operation(ops.flip, mask, axis=1)
        self.masks[step.outputs[0]] = mask


def is_given_masks(kwargs: dict) -> bool:
    """Whether a call gets masks of time steps as arguments."""
    names = ("mask", "query_mask", "value_mask", "key_mask")
    # Of a dict of inputs, Keras gives a dict of masks, of which all may be None.
    given = keras.tree.flatten([kwargs.get(name) for name in names])
    return any(mask is not None for mask in given)


def _is_known(layer: keras.layers.Layer) -> bool:
    """Whether a layer is Keras's or this package's, so that it is known what it does to masks."""
    cls = plain_class(layer)
    return is_keras_class(cls) or cls.__module__.startswith("moda_keras.")


def _makes_masks(layer: keras.layers.Layer) -> bool:
    """Whether a layer, or one inside, makes a mask: an embedding alone does not."""
    return any(
        isinstance(each, _MAKERS) and getattr(each, "mask_zero", True)
        for each in layer._flatten_layers()
    )


def _tensors(structure: Any) -> list[Tensor]:
    return [leaf for leaf in keras.tree.flatten(structure) if isinstance(leaf, Tensor)]


def append_mask(
    steps: list[Step], mask: keras.KerasTensor, known: dict[int, Tensor]
) -> Tensor | None:
    """Appends the steps that make a mask of tensors of the graph.

    Args:
        steps: The steps so far.
        mask: The symbolic mask.
        known: Tensors of the graph by the identities of symbolic ones. New ones are added.

    Returns:
        The mask; None, and nothing is appended, if it is made of something else.
    """
    nodes, unread, met = [], [mask], set(known)
    while unread:
        tensor = unread.pop()
        if id(tensor) in met:
            continue
        history = getattr(tensor, "_keras_history", None)
        node = history and history.operation._inbound_nodes[history.node_index]
        if node is None or not node.input_tensors:
            return None
        nodes.append(node)
        unread.extend(node.input_tensors)
        met.update(map(id, node.outputs))
    for node in _in_order(nodes, known):
        args, kwargs = keras.tree.map_structure(
            lambda leaf: known[id(leaf)] if isinstance(leaf, keras.KerasTensor) else leaf,
            (node.arguments.args, node.arguments.kwargs),
        )
        outputs = [Tensor(each, last_axis(each)) for each in node.outputs]
        steps.append(Step(node.operation, args, kwargs, outputs))
        known.update(zip(map(id, node.outputs), outputs, strict=True))
    return known[id(mask)]


def _in_order(nodes: list[Any], known: dict[int, Tensor]) -> list[Any]:
    """Nodes after those that they read."""
    ordered, done = [], set(known)
    while nodes:
        ready = [n for n in nodes if all(id(t) in done for t in n.input_tensors)]
        ordered += ready
        done.update(id(t) for n in ready for t in n.outputs)
        nodes = [n for n in nodes if n not in ready]
    return ordered
