"""Records what a layer's `call` does, by calling it on symbolic tensors."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FunctionType, MethodType
from typing import Any

import keras
import numpy as np

from moda_keras.graph.constant_lookups import symbolic_lookups
from moda_keras.graph.failed_calls import explain_failure
from moda_keras.graph.graph import Tensor
from moda_keras.graph.held_tensors import SymbolicTensor, symbolic_tensors
from moda_keras.graph.open_sizes import BATCH_SIZES, LENGTHS, differ_in_sizes, names_unknown_size
from moda_keras.graph.operations import accepts_training, is_keras_class
from moda_keras.graph.restored_attributes import restoring_attributes
from moda_keras.ops.backends import backend

# What stands for an unknown batch size, and for unknown lengths; two of them show what depends on
# the size.
_SIZES = (
    [(None, None)],
    [(size, None) for size in BATCH_SIZES],
    list(zip(BATCH_SIZES, LENGTHS, strict=True)),
)


class Unrecordable(Exception):
    """Why a call cannot be recorded, in words that follow "because"."""


@dataclass(frozen=True, eq=False)
class Recording:
    """The calls inside a call.

    Attributes:
        stand_ins: The symbolic tensors of the call, each with the tensor that it stands for.
        nodes: Keras's nodes of the calls inside, in the order of execution.
        structure: What the call returns: symbolic tensors in their structure.
        shapes: By the identities of symbolic tensors, the shapes that differ from theirs, because
            the batch size is open.
        held: By the identities of symbolic tensors, those that stand for a weight or a constant,
            each with what it stands for.
        per_size: Identities of the nodes whose operations name the batch size or a length.
    """

    stand_ins: list[tuple[keras.KerasTensor, Tensor]]
    nodes: list[Any]
    structure: Any
    shapes: dict[int, tuple] = field(default_factory=dict)
    held: dict[int, tuple[keras.KerasTensor, Any]] = field(default_factory=dict)
    per_size: set[int] = field(default_factory=set)

    @property
    def outputs(self) -> list[keras.KerasTensor]:
        """The symbolic tensors that come out, flat."""
        return keras.tree.flatten(self.structure)

    @property
    def inputs(self) -> dict[int, Tensor]:
        """The tensors by the identities of the symbolic ones that stand for them."""
        return {id(symbolic): tensor for symbolic, tensor in self.stand_ins}


def record(
    layer: keras.layers.Layer, args: tuple, kwargs: dict, *, with_weights: bool = False
) -> Recording:
    """Records a call, without a trace on the layer and on those inside.

    Args:
        layer: A built layer or model.
        args: Positional arguments of the call, with a `Tensor` for each tensor.
        kwargs: Keyword arguments, likewise.
        with_weights: Whether the weights and tensors that the layer holds are symbolic too.

    Returns:
        The `Recording`. The `training` that the call hands on to layers inside is left out.

    Raises:
        Unrecordable: If the call does not run on symbolic tensors, or its graph depends on the mode
            or on the batch size.
    """
    failure = None
    for sizes in _SIZES:
        try:
            found = [
                _record_in_both_modes(layer, args, kwargs, size, with_weights) for size in sizes
            ]
        except Unrecordable as error:
            failure = failure or error
            continue
        if any(names_unknown_size(node.operation) for node in found[0].nodes):
            continue
        if len(found) == 1:
            return found[0]
        if not _are_same(*found, in_sizes=True):
            failure = Unrecordable("its graph depends on the batch size")
            continue
        found[0].shapes.update(_open_shapes(*found))
        return found[0]
    raise failure or Unrecordable("its graph depends on the batch size")


def operations_of(function: Callable) -> list[Any] | None:
    """The operations that a function of one tensor consists of.

    Args:
        function: Such as an activation function.

    Returns:
        List of operations; None if it does not run on a symbolic tensor, uses other tensors, or
        changes the shape.
    """
    stand_in = keras.KerasTensor((None, 4))
    try:
        result = function(stand_in)
        nodes = list(_nodes_between({id(stand_in)}, [result]))
    except Exception:  # whatever a function of the user's raises
        return None
    arguments = [(node.arguments.args, node.arguments.kwargs) for node in nodes]
    values = keras.tree.flatten(arguments)
    has_others = any(np.ndim(each) for each in values if not isinstance(each, keras.KerasTensor))
    is_kept = isinstance(result, keras.KerasTensor) and result.shape == stand_in.shape
    return [node.operation for node in nodes] if is_kept and not has_others else None


def _record_in_both_modes(
    layer: keras.layers.Layer, args: tuple, kwargs: dict, size: tuple, with_weights: bool
) -> Recording:
    recording, training = (
        _record_once(layer, args, kwargs, size, mode, with_weights) for mode in (False, True)
    )
    if any(map(_takes_functions, recording.nodes)):
        raise Unrecordable("it hands a function to an operation such as `ops.cond` or `ops.scan`")
    if not _are_same(recording, training):
        raise Unrecordable("it computes something else in training than in inference")
    _leave_out_mode(recording, training)
    if any(node.arguments.kwargs.get("training") is not None for node in recording.nodes):
        raise Unrecordable("it asks layers inside for training or inference, whatever the mode")
    return recording


def _takes_functions(node: Any) -> bool:
    """Whether an operation calls a function, in which anything may be done."""
    if isinstance(node.operation, keras.layers.Layer):
        return False
    settings = _settings(node.operation).values()
    leaves = keras.tree.flatten((node.arguments.args, node.arguments.kwargs, list(settings)))
    return any(isinstance(each, (FunctionType, MethodType)) for each in leaves)


def _leave_out_mode(recording: Recording, training: Recording) -> None:
    """Takes away the `training` that the layers inside get from the layer itself."""
    for node, other in zip(recording.nodes, training.nodes, strict=True):
        mode, in_training = (each.arguments.kwargs.get("training") for each in (node, other))
        if (mode, in_training) == (False, True):
            del node.arguments.kwargs["training"]


def _record_once(
    layer: keras.layers.Layer,
    args: tuple,
    kwargs: dict,
    size: tuple,
    training: bool,
    with_weights: bool,
) -> Recording:
    made: dict[Tensor, keras.KerasTensor] = {}

    def symbolic(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        if leaf not in made:
            made[leaf] = _stand_in(leaf, size)
        return made[leaf]

    args, kwargs = keras.tree.map_structure(symbolic, (args, kwargs))
    if accepts_training(layer):
        kwargs = {**kwargs, "training": training}
    hold = symbolic_tensors(layer) if with_weights else contextlib.nullcontext({})
    without = backend.without_gradients(), backend.without_custom_gradients()
    with hold as held, _without_a_trace(layer), symbolic_lookups(layer) as looked_up:
        try:
            with keras.StatelessScope(collect_losses=True) as scope, without[0], without[1]:
                structure = _call_in_mode(layer, args, kwargs, training)
        except Exception as error:  # whatever a `call` of the user's raises
            raise Unrecordable(explain_failure(error)) from None
        if scope.losses:
            raise Unrecordable("it adds a loss when it is called")
        if scope.state_mapping:
            raise Unrecordable("it changes a state, or draws random numbers, when it is called")
        outputs = keras.tree.flatten(structure)
        if not outputs or not all(isinstance(each, keras.KerasTensor) for each in outputs):
            raise Unrecordable("it returns something else than tensors made of its inputs")
        if any(id(each) in held for each in outputs):
            raise Unrecordable("it returns a weight")
        held.update(looked_up)
        nodes = list(_nodes_between({*map(id, made.values()), *held}, outputs))
    stand_ins = [(symbolic, tensor) for tensor, symbolic in made.items()]
    return Recording(stand_ins, nodes, structure, held=held)


class _Mode(keras.layers.Layer):
    """Calls a function as a layer does that is asked for training or inference."""

    def __init__(self, function: Callable[[], Any], dtype: Any):
        super().__init__(dtype=dtype)
        self.held = (function,)
        self.built = True

    def call(self, inputs, training=None):
        self.held[0]()
        return inputs


def _call_in_mode(layer: keras.layers.Layer, args: tuple, kwargs: dict, training: bool) -> Any:
    """What `call` returns; layers inside are told the mode as if the layer itself were called."""
    returned: list[Any] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            returned.append(layer.call(*args, **kwargs))
        except Exception as error:  # here, before Keras wraps it up
            errors.append(error)

    _Mode(run, layer.dtype_policy)(keras.ops.zeros((1, 1), layer.compute_dtype), training=training)
    if errors:
        raise errors[0]
    return returned[0]


def _open_shapes(first: Recording, second: Recording) -> dict[int, tuple]:
    """The shapes of tensors where they do not depend on the batch size."""
    return {
        id(one): tuple(n if n == m else None for n, m in zip(one.shape, other.shape, strict=True))
        for nodes in zip(first.nodes, second.nodes, strict=True)
        for one, other in zip(*(node.outputs for node in nodes), strict=True)
    }


def _stand_in(tensor: Tensor, size: tuple[int | None, int | None]) -> keras.KerasTensor:
    batch, length = size
    shape = tuple(
        (length if axis else batch) if each is None else each
        for axis, each in enumerate(tensor.shape)
    )
    source = tensor.keras_tensor
    return SymbolicTensor(shape, dtype=source.dtype, sparse=source.sparse)


@contextlib.contextmanager
def _without_a_trace(layer: keras.layers.Layer) -> Iterator[None]:
    """Takes the nodes of calls away again, and checks that nothing was built."""
    layers = list(layer._flatten_layers(include_self=True, recursive=True))
    before = [(len(each._inbound_nodes), len(each._outbound_nodes)) for each in layers]
    weights = len(layer.weights)
    # Keras takes the product of a symbolic tensor and a weight for a sparse one otherwise.
    dense = [each for each in layer.variables if not hasattr(each, "sparse")]
    for each in dense:
        each.sparse = False
    try:
        with restoring_attributes(layer) as changed:
            yield
    finally:
        for each in dense:
            del each.sparse
        for each, (inbound, outbound) in zip(layers, before, strict=True):
            del each._inbound_nodes[inbound:]
            del each._outbound_nodes[outbound:]
    if len(layer.weights) != weights:
        raise Unrecordable("it makes weights when it is called")
    if changed:
        raise Unrecordable(f"it sets its attributes {sorted(changed)} when it is called")


def _nodes_between(inputs: set[int], outputs: list[keras.KerasTensor]) -> Iterator[Any]:
    """The nodes from inputs to outputs, in topological order."""
    done = set(inputs)
    stack = [(tensor, False) for tensor in reversed(outputs)]
    while stack:
        tensor, inputs_done = stack.pop()
        if id(tensor) in done:
            continue
        history = getattr(tensor, "_keras_history", None)
        if history is None or history.operation is None:
            raise Unrecordable("it uses tensors from outside the call")
        node = history.operation._inbound_nodes[history.node_index]
        if not inputs_done:
            stack.append((tensor, True))
            stack.extend((t, False) for t in reversed(node.input_tensors))
            continue
        done.update(map(id, node.outputs))
        yield node


def _are_same(first: Recording, second: Recording, *, in_sizes: bool = False) -> bool:
    """Whether two recordings are of the same operations on the same tensors.

    With `in_sizes`, operations may differ in the sizes that they name; `per_size` has these then.
    """
    if len(first.nodes) != len(second.nodes) or len(first.outputs) != len(second.outputs):
        return False
    places: list[dict[int, Any]] = [
        {**each.inputs, **{key: value for key, (_, value) in each.held.items()}}
        for each in (first, second)
    ]
    for index, nodes in enumerate(zip(first.nodes, second.nodes, strict=True)):
        if not _are_same_operations(*(node.operation for node in nodes)):
            if not in_sizes or not _name_sizes(*(node.operation for node in nodes)):
                return False
            first.per_size.add(id(nodes[0]))
        if not _have_same_arguments(*nodes, *places):
            return False
        for node, place in zip(nodes, places, strict=True):
            place.update({id(t): (index, i) for i, t in enumerate(node.outputs)})
    ends = [
        [place[id(tensor)] for tensor in each.outputs]
        for each, place in zip((first, second), places, strict=True)
    ]
    return ends[0] == ends[1]


def _are_same_operations(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, keras.layers.Layer):  # made in the call, such as `Add()([x, y])`
        is_plain = is_keras_class(type(one)) and not (one.variables or other.variables)
        return is_plain and _is_equal(_config(one), _config(other))
    return _is_equal(_settings(one), _settings(other))


def _name_sizes(one: Any, other: Any) -> bool:
    """Whether two operations differ in nothing but the sizes that they name."""
    if type(one) is not type(other) or isinstance(one, keras.layers.Layer):
        return False
    settings = [_settings(each) for each in (one, other)]
    place = differ_in_sizes(one, *settings)
    if place is None:
        return False
    return _is_equal(*({**each, place: None} for each in settings))


def _have_same_arguments(first: Any, second: Any, of_first: dict, of_second: dict) -> bool:
    leaves = []
    for node, known in ((first, of_first), (second, of_second)):
        kwargs = {k: v for k, v in node.arguments.kwargs.items() if k != "training"}
        flat = keras.tree.flatten((node.arguments.args, kwargs))
        leaves.append(
            [known[id(leaf)] if isinstance(leaf, keras.KerasTensor) else leaf for leaf in flat]
        )
    return len(leaves[0]) == len(leaves[1]) and all(map(_is_equal, *leaves))


def _config(layer: keras.layers.Layer) -> dict[str, Any]:
    return {key: value for key, value in layer.get_config().items() if key != "name"}


def _settings(operation: Any) -> dict[str, Any]:
    """The attributes of the operation behind a call of `keras.ops`, without name and nodes."""
    return {
        key: value
        for key, value in vars(operation).items()
        if not key.startswith("_") and key != "name"
    }


def _is_equal(first: Any, second: Any) -> bool:
    if first is second:
        return True
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(_is_equal(first[k], second[k]) for k in first)
    if isinstance(first, (list, tuple)) and isinstance(second, (list, tuple)):
        return len(first) == len(second) and all(map(_is_equal, first, second))
    if keras.ops.is_tensor(first) or isinstance(first, np.ndarray):
        try:
            return np.array_equal(*map(keras.ops.convert_to_numpy, (first, second)))
        except (TypeError, ValueError):
            return False
    try:
        return bool(first == second)
    except (TypeError, ValueError):
        return False
