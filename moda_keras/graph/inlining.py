"""Sees through composite layers: a call becomes the calls inside."""

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from moda_keras.graph.call_recording import Recording, Unrecordable, record
from moda_keras.graph.channel_axes import last_axis
from moda_keras.graph.expansion import Recorder
from moda_keras.graph.graph import Step, Tensor
from moda_keras.graph.held_tensors import holds_tensors
from moda_keras.graph.inlining_proof import find_difference
from moda_keras.graph.open_sizes import for_any_size
from moda_keras.graph.operations import is_keras_class, kind_of
from moda_keras.graph.plain_class import plain_class
from moda_keras.graph.unique_names import unique_name
from moda_keras.graph.weight_operands import WeightOperands, holds_weights

# Appends the steps of one node of Keras's, and returns its outputs.
TraceNode = Callable[[list[Step], Any, tuple, dict], list[Tensor]]

_KEPT_WHOLE: set[type] = set()


def keep_whole(kind: type) -> None:
    """Declares that calls of a layer class stay one operation, since something treats them so."""
    _KEPT_WHOLE.add(kind)


def is_composite(operation: Any) -> bool:
    """Whether a layer is neither Keras's own nor this package's, and so may have parts."""
    if not isinstance(operation, keras.layers.Layer):
        return False
    cls = plain_class(operation)
    if is_keras_class(cls) or cls.__module__.startswith("moda_keras."):
        return False
    kind = next((each for each in cls.__mro__ if each in _KEPT_WHOLE), None)
    # One of Keras's layers with a `call` of the user's is another layer.
    return kind is None or (is_keras_class(kind) and kind.call is not cls.call)


def inline(
    steps: list[Step],
    layer: keras.layers.Layer,
    args: tuple,
    kwargs: dict,
    trace_node: TraceNode,
    *,
    source: Tensor,
    prove: bool,
) -> list[Tensor]:
    """Appends the steps inside the call of a composite layer, and returns its outputs.

    Args:
        steps: The steps so far.
        layer: The layer.
        args: Positional arguments of the call, with a `Tensor` for each tensor.
        kwargs: Keyword arguments, likewise.
        trace_node: Traces the calls inside, and so on level by level.
        source: An input of the model: what goes into layers that read nothing.
        prove: Whether the steps are compared with the layer, on random inputs.

    Returns:
        The outputs, flat.

    Raises:
        Unrecordable: If the call stays one operation; nothing is appended then.
    """
    if layer.activity_regularizer is not None:
        raise Unrecordable("it has an activity regularizer, which its parts have not")
    for with_weights in ways_to_record(layer):
        start = len(steps)
        try:
            cast_args, cast_kwargs = _autocast(steps, layer, (args, kwargs))
            recording = record(layer, cast_args, cast_kwargs, with_weights=with_weights)
            outputs = append_recorded(steps, layer, recording, trace_node, source)
            if prove:
                require_equal(layer, args, kwargs, steps[start:], outputs, source)
        except Unrecordable as error:
            del steps[start:]
            failure = error
        else:
            return outputs
    raise failure


def _autocast(steps: list[Step], layer: keras.layers.Layer, arguments: tuple) -> tuple:
    """The arguments as Keras casts them to the compute dtype of a layer, by steps."""

    def cast(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor) or not layer.autocast:
            return leaf
        dtype = keras.backend.standardize_dtype(leaf.keras_tensor.dtype)
        if "float" not in dtype or dtype == layer.compute_dtype:
            return leaf
        name = f"{layer.name}/cast"
        return Recorder(steps, None).operation(ops.cast, leaf, layer.compute_dtype, name=name)

    return keras.tree.map_structure(cast, arguments)


def ways_to_record(layer: keras.layers.Layer) -> tuple[bool, ...]:
    """Values of `with_weights` to try: with symbolic weights, if a layer holds any, and without."""
    return (True, False) if holds_tensors(layer) else (False,)


def require_equal(
    layer: keras.layers.Layer,
    args: tuple,
    kwargs: dict,
    steps: list[Step],
    outputs: list[Tensor],
    source: Tensor,
) -> None:
    """Raises `Unrecordable` if steps do something else than the layer; see `find_difference`."""
    reason = find_difference(layer, args, kwargs, steps, outputs, source)
    if reason is not None:
        raise Unrecordable(reason)


def append_recorded(
    steps: list[Step],
    layer: keras.layers.Layer,
    recording: Recording,
    trace_node: TraceNode,
    source: Tensor,
) -> list[Tensor]:
    """Appends the steps of a recorded call, and returns its outputs; arguments as of `inline`."""
    return _Inlining(steps, layer, recording, trace_node, source).run()


class _Inlining:
    def __init__(
        self,
        steps: list[Step],
        layer: keras.layers.Layer,
        recording: Recording,
        trace_node: TraceNode,
        source: Tensor,
    ):
        self.steps = steps
        self.layer = layer
        self.recording = recording
        self.trace_node = trace_node
        self.known: dict[int, Any] = dict(recording.inputs)
        self.known.update({key: value for key, (_, value) in recording.held.items()})
        self.operands = WeightOperands(layer, steps, source)
        self.source = source
        read = [node.input_tensors for node in recording.nodes] + [recording.outputs]
        self.readers = Counter(id(tensor) for tensors in read for tensor in tensors)
        self.attributes = _attribute_names(layer)
        self.names: set[str] = set()

    def run(self) -> list[Tensor]:
        for node in self.recording.nodes:
            start = len(self.steps)
            outputs = self.trace(node)
            for tensor, symbolic in zip(outputs, node.outputs, strict=True):
                if isinstance(tensor, Tensor):
                    tensor.shape = self.recording.shapes.get(id(symbolic), tensor.shape)
            self.known.update(zip(map(id, node.outputs), outputs, strict=True))
            self.rename(node.operation, self.steps[start:])
        outputs = [self.known[id(tensor)] for tensor in self.recording.outputs]
        if not all(isinstance(each, Tensor) for each in outputs):
            raise Unrecordable("it returns a constant")
        return outputs

    def trace(self, node: Any) -> list[Any]:
        """The outputs of a node, its steps appended; of constants, constants."""
        args, kwargs = keras.tree.map_structure(
            lambda leaf: self.known[id(leaf)] if isinstance(leaf, keras.KerasTensor) else leaf,
            (node.arguments.args, node.arguments.kwargs),
        )
        if id(node) in self.recording.per_size:
            return [self.trace_for_any_size(node, args, kwargs)]
        has_tensors = any(isinstance(each, Tensor) for each in keras.tree.flatten((args, kwargs)))
        if _hands_on(node):
            return [args[0]]
        if not holds_weights(args, kwargs):
            if has_tensors or not node.input_tensors:
                self.require_open(node.operation, args, kwargs)
                return self.trace_node(self.steps, node, args, kwargs)
            return self.trace_constants(node, args, kwargs)
        operation, output = node.operation, Tensor(node.outputs[0], last_axis(node.outputs[0]))
        held = self.recording.held
        read = [id(tensor) for tensor in node.input_tensors if id(tensor) not in held]
        readers = max((self.readers[key] for key in read), default=0)
        if self.operands.as_embedding(operation, args, output):
            return [output]
        if self.operands.as_dense(operation, args, output):
            return [output]
        if self.operands.as_bias(operation, args, output, readers):
            return [output]
        args, kwargs = self.operands.replaced(operation, args, kwargs)
        self.require_open(operation, args, kwargs)
        return self.trace_node(self.steps, node, args, kwargs)

    def require_open(self, operation: Any, args: tuple, kwargs: dict) -> None:
        """Raises `Unrecordable` if an operation was recorded with sizes that it needs to know."""
        if not self.recording.shapes or isinstance(operation, keras.layers.Layer):
            return
        specs = keras.tree.map_structure(
            lambda each: (
                keras.KerasTensor(each.shape, dtype=each.keras_tensor.dtype)
                if isinstance(each, Tensor)
                else each
            ),
            (args, kwargs),
        )
        try:
            operation.compute_output_spec(*specs[0], **specs[1])
        except Exception:  # of each operation's own kind
            reason = f"its operation {operation.name!r} needs to know the sizes of what goes in"
            raise Unrecordable(reason) from None

    def trace_constants(self, node: Any, args: tuple, kwargs: dict) -> list[Any]:
        """The outputs of an operation on constants."""
        operation = node.operation
        if not isinstance(operation, keras.layers.Layer):
            return keras.tree.flatten(operation(*args, **kwargs))
        output = Tensor(node.outputs[0], last_axis(node.outputs[0]))
        if not self.operands.as_lookup(operation, args, output):
            raise Unrecordable("it calls a layer inside on a constant")
        return [output]

    def trace_for_any_size(self, node: Any, args: tuple, kwargs: dict) -> Tensor:
        """The output of an operation that names the batch size or a length."""
        output = Tensor(node.outputs[0], last_axis(node.outputs[0]))
        output.shape = self.recording.shapes[id(node.outputs[0])]
        inputs = keras.tree.flatten(self.operands.replaced(node.operation, args, kwargs))
        lengths = [
            (tensor, axis)
            for _, tensor in self.recording.stand_ins
            for axis, length in enumerate(tensor.shape)
            if axis and length is None
        ]
        step = for_any_size(node.operation, inputs, output, self.source, lengths)
        if step is None:
            raise Unrecordable("its graph depends on the batch size")
        self.steps.append(step)
        return output

    def rename(self, operation: Any, steps: list[Step]) -> None:
        """Names the steps of a call by their path in the model."""
        local = self.attributes.get(id(operation)) or _kind_name(operation)
        local = unique_name(local, self.names)
        own = re.compile(rf"{re.escape(operation.name)}(?=$|[/_])")
        for step in steps:
            is_own = own.match(step.name)
            inner = own.sub(local, step.name) if is_own else f"{local}/{step.name}"
            step.name = f"{self.layer.name}/{inner}"


def _hands_on(node: Any) -> bool:
    """Whether an operation makes a tensor of what is one."""
    tensor, made = node.input_tensors[:1], node.outputs[0]
    is_conversion = kind_of(node.operation) == "ConvertToTensor" and len(tensor) == 1
    return is_conversion and tensor[0].dtype == made.dtype


def _attribute_names(layer: keras.layers.Layer) -> dict[int, str]:
    """The name of each layer inside: its own if it was given one, or that of its attribute."""
    # PyTorch keeps attributes that are layers apart; some attributes are lists of the frameworks.
    attributes = {
        key: value
        for key, value in {**vars(layer), **vars(layer).get("_modules", {})}.items()
        if key not in ("_layers", "_modules")
        and (not key.startswith("_self_") or isinstance(value, keras.layers.Layer))
    }
    names: dict[int, str] = {}
    found = list(attributes.items())
    found += [
        (f"{key}_{index}", each)
        for key, value in attributes.items()
        if isinstance(value, (list, tuple, dict))
        for index, each in enumerate(_leaves(value))
    ]
    for place, each in found:
        if isinstance(each, keras.layers.Layer):
            name = place.strip("_") if _is_automatic(each) else each.name
            names.setdefault(id(each), name)
    return names


def _leaves(value: Any) -> list[Any]:
    """What is in nested lists and dicts, in their order; the keys of a dict may be anything."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [leaf for each in value for leaf in _leaves(each)]
    return [value]


def _is_automatic(layer: keras.layers.Layer) -> bool:
    """Whether Keras has named a layer, with a number that depends on what was made before."""
    return re.fullmatch(rf"{_kind_name(layer)}(_\d+)?", layer.name) is not None


def _kind_name(operation: Any) -> str:
    name = re.sub(r"\W+", "", type(operation).__name__)
    name = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
