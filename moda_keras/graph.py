"""The one place that reads Keras's node graph.

`trace` turns a Functional or Sequential model into a flat `Graph` of steps, nested models and
`expansion`s inlined; `inline_nested` gives the same as a Keras model; `find_hidden_activations`
says where units are observed. Tensors are read from `node.outputs`, never from `layer.output`,
which is the layer's first call and may belong to another graph.
"""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras

from moda_keras.einsum_labels import einsum_labels
from moda_keras.expansion import expand, is_masked
from moda_keras.layers.modular_activation import ModularActivation


def _functional_class() -> type:
    """Keras exports no name for the class of `keras.Model(inputs, outputs)`."""
    tensor = keras.Input((1,), name="probe_of_functional_class")
    return type(keras.Model(tensor, tensor, name="probe_of_functional_class"))


Functional = _functional_class()

# The `call` methods that do nothing but run the model's graph: a model whose class defines another
# one does more than its graph shows, and is one opaque operation.
GRAPH_CALLS = {Functional.call, keras.Sequential.call}

# Gates and distributions: their outputs weigh or rank other values, they are no features.
_NO_FEATURES = {
    "linear", "softmax", "logsoftmax", "sigmoid", "hardsigmoid", "logsigmoid", "sparsemax",
    "sparsesigmoid",
}  # fmt: skip
_ACTIVATION_LAYERS = (
    keras.layers.Activation, keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.PReLU,
    keras.layers.ELU, keras.layers.Softmax,
)  # fmt: skip
# Classes of `keras.ops` calls in a graph have no public names.
_ACTIVATION_OPERATIONS = {
    "relu", "relu6", "leakyrelu", "elu", "selu", "celu", "gelu", "silu", "hardsilu", "tanh",
    "hardtanh", "softplus", "softsign", "softshrink", "hardshrink", "tanhshrink", "squareplus",
    "sparseplus", "threshold", "softmax", "logsoftmax", "sigmoid", "hardsigmoid", "logsigmoid",
    "sparsemax",
}  # fmt: skip
_EXACTLY_ZERO = {
    "relu", "relu6", "hardsilu", "hardswish", "hardshrink", "softshrink", "sparseplus",
}  # fmt: skip
_NON_NEGATIVE = {"relu", "relu6", "sparseplus", "softplus"}


class Tensor:
    """An edge of a `Graph`.

    Attributes:
        keras_tensor: The `keras.KerasTensor` of the traced model.
        shape: Tuple of int or None, batch axis first.
        channel_axis: Positive int, the axis that holds units or channels.
    """

    __slots__ = ("channel_axis", "keras_tensor", "shape")

    def __init__(self, keras_tensor: keras.KerasTensor, channel_axis: int):
        self.keras_tensor = keras_tensor
        self.shape = tuple(keras_tensor.shape)
        self.channel_axis = channel_axis

    @property
    def channels(self) -> int:
        """Length of the channel axis; 1 for a tensor of rank 0 or 1."""
        return self.shape[self.channel_axis] if len(self.shape) > 1 else 1

    def __repr__(self) -> str:
        return f"<Tensor {self.keras_tensor.name} shape={self.shape}>"


@dataclass(eq=False)
class Step:
    """One call of an operation: a node of a `Graph`.

    Attributes:
        operation: The Keras layer or operation.
        args, kwargs: Its call arguments, with a `Tensor` wherever a tensor goes in.
        outputs: The tensors that come out, flat.
    """

    operation: Any
    args: tuple
    kwargs: dict
    outputs: list[Tensor]

    def __post_init__(self):
        flat = keras.tree.flatten((self.args, self.kwargs))
        self.inputs = [leaf for leaf in flat if isinstance(leaf, Tensor)]

    @property
    def name(self) -> str:
        """Name of the layer or operation."""
        return self.operation.name

    def arguments(self, values: dict) -> tuple[tuple, dict]:
        """The call arguments with each `Tensor` replaced by `values[tensor]`."""

        def substitute(leaf):
            return values[leaf] if isinstance(leaf, Tensor) else leaf

        return (
            keras.tree.map_structure(substitute, self.args),
            keras.tree.map_structure(substitute, self.kwargs),
        )


@dataclass(eq=False)
class Graph:
    """A model as inputs, outputs and the steps between, in the order of execution."""

    inputs: list[Tensor]
    outputs: list[Tensor]
    steps: list[Step]

    def run(
        self,
        inputs: list,
        call: Callable[[Step, tuple, dict], Any] | None = None,
        transform: Callable[[Tensor, Any], Any] | None = None,
    ) -> dict[Tensor, Any]:
        """Executes the graph on real or symbolic tensors.

        Args:
            inputs: One value per graph input.
            call: Called as `call(step, args, kwargs)` in place of the step's operation.
            transform: Called as `transform(tensor, value)` on every value a step produces; what it
                returns is what later steps read.

        Returns:
            The value of every tensor of the graph.
        """
        values = dict(zip(self.inputs, inputs, strict=True))
        for step in self.steps:
            args, kwargs = step.arguments(values)
            result = call(step, args, kwargs) if call else step.operation(*args, **kwargs)
            for tensor, value in zip(step.outputs, keras.tree.flatten(result), strict=True):
                values[tensor] = transform(tensor, value) if transform else value
        return values


@dataclass(frozen=True, eq=False)
class HiddenActivation:
    """The output of a hidden layer's non-linearity: where units are observed.

    Attributes:
        name: Name of the layer or operation whose output it is.
        units: Number of units (neurons of a dense layer, channels of a convolutional one).
        channel_axis: Positive int, the axis of the units.
        exact_zero: Whether the non-linearity gives exact zeros, as ReLU does. Where it does not
            (GELU, tanh, ...), a unit counts as active if its magnitude exceeds a small epsilon.
        non_negative: Whether it never gives negative values.
        operation: The layer or operation.
        tensor: The `keras.KerasTensor` that it puts out.
    """

    name: str
    units: int
    channel_axis: int
    exact_zero: bool
    non_negative: bool
    operation: Any
    tensor: keras.KerasTensor

    def __repr__(self) -> str:
        return f"HiddenActivation(name={self.name!r}, units={self.units})"


# ------------------------------------------------------------------------------------- tracing


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
    inputs = [Tensor(t, _last_axis(t)) for t in model.inputs]
    steps: list[Step] = []
    outputs = _trace_into(steps, model, inputs, training=None)
    graph = Graph(inputs, outputs, steps)
    _assign_channel_axes(graph)
    return graph


def require_graph(model: keras.Model) -> None:
    """Raises a ValueError that says what to do if `model` has no readable graph."""
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
    if len(shape) != 2 or shape[-1] is None or shape[-1] < 2:
        raise ValueError(
            "Expected a model whose output has shape (batch, classes) with at least 2 classes. "
            f"Received: model {model.name!r} with output shape {shape}"
        )


def runs_graph(operation: Any) -> bool:
    """Whether `operation` is a built model that does what its graph shows and no more."""
    return (
        isinstance(operation, (Functional, keras.Sequential))
        and type(operation).call in GRAPH_CALLS
        and bool(getattr(operation, "outputs", None))
    )


def _trace_into(
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
    for node in _nodes_in_order(model):
        arguments = (node.arguments.args, node.arguments.kwargs)
        args, kwargs = keras.tree.map_structure(
            lambda leaf: known[id(leaf)] if isinstance(leaf, keras.KerasTensor) else leaf,
            arguments,
        )
        operation = node.operation
        inner = _inner_model(node, masked)
        if inner is not None:
            passed = (args, {name: value for name, value in kwargs.items() if name != "mask"})
            fed = [x for x in keras.tree.flatten(passed) if isinstance(x, Tensor)]
            mode = training if kwargs.get("training") is None else kwargs["training"]
            is_fed_masks = masked or any(map(is_masked, node.input_tensors))
            outputs = _trace_into(steps, inner, fed, mode, is_fed_masks)
        else:
            # `base(x, training=False)` asks for this mode of every layer inside.
            if training is not None and accepts_training(operation):
                kwargs = {"training": training, **_drop_none(kwargs, "training")}
            outputs = [Tensor(t, _last_axis(t)) for t in node.outputs]
            steps.append(Step(operation, args, kwargs, outputs))
        known.update(zip(map(id, node.outputs), outputs, strict=True))
    return [known[id(t)] for t in model.outputs]


def _inner_model(node: Any, masked: bool = False) -> keras.Model | None:
    """The model whose graph is what the node's operation does; None for a single operation."""
    if runs_graph(node.operation):
        return node.operation
    return None if masked else expand(node)


def _nodes_in_order(model: keras.Model) -> Iterator[Any]:
    """The nodes that lead from the model's inputs to its outputs, each after what it reads."""
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


def accepts_training(operation: Any) -> bool:
    """Whether the operation's `call` takes a `training` argument."""
    return "training" in inspect.signature(operation.call).parameters


def _drop_none(mapping: dict, key: str) -> dict:
    return {k: v for k, v in mapping.items() if k != key or v is not None}


# -------------------------------------------------------------------------------- channel axes


def _last_axis(tensor: keras.KerasTensor) -> int:
    return max(len(tensor.shape) - 1, 0)


def _assign_channel_axes(graph: Graph) -> None:
    """Says for every tensor which axis holds its channels.

    Layers with a `data_format` say so themselves; others keep the axis of an input of equal rank.
    """
    first = {
        len(step.outputs[0].shape)
        for step in graph.steps
        if getattr(step.operation, "data_format", None) == "channels_first"
    }
    for tensor in graph.inputs:
        if len(tensor.shape) in first and len(tensor.shape) > 2:
            tensor.channel_axis = 1
    for step in graph.steps:
        for tensor in step.outputs:
            tensor.channel_axis = _channel_axis(step, tensor)
        _fill_in_lengths(step)


def _channel_axis(step: Step, tensor: Tensor) -> int:
    rank, operation = len(tensor.shape), step.operation
    if rank <= 2:
        return max(rank - 1, 0)
    if isinstance(operation, keras.layers.TimeDistributed):
        inner = at_one_time(step)
        return 1 + _channel_axis(inner, inner.outputs[0])
    if _kind(operation) in _AXIS_FINDERS:
        return _AXIS_FINDERS[_kind(operation)](step)
    data_format = getattr(operation, "data_format", None)
    if data_format:
        is_over_time = isinstance(operation, keras.layers.RNN) and operation.return_sequences
        first = 2 if is_over_time and tensor is step.outputs[0] else 1
        return first if data_format == "channels_first" else rank - 1
    if isinstance(operation, keras.layers.BatchNormalization):
        return operation.axis % rank
    if isinstance(operation, (keras.layers.Dense, keras.layers.RNN, keras.layers.Bidirectional)):
        return rank - 1
    same_rank = [t.channel_axis for t in step.inputs if len(t.shape) == rank]
    if not same_rank:
        return rank - 1
    if isinstance(operation, keras.layers.Permute):
        return (0, *operation.dims).index(same_rank[0])
    return same_rank[0]


def _channel_axis_of_einsum_dense(step: Step) -> int:
    """The first axis that the kernel brings in: of a projection to heads, that of the heads."""
    source, _, result = labels_of_einsum_dense(step)
    new = [label for label in result if label not in source]
    return result.index(new[0]) if new else len(result) - 1


def _channel_axis_of_einsum(step: Step) -> int:
    """Where the channels of the first tensor go."""
    tensor, output = step.inputs[0], step.outputs[0]
    labels = labels_of_einsum(step)
    if labels is None:
        return _last_axis(output)
    label = labels[0][0][tensor.channel_axis]
    return labels[1].index(label) if label in labels[1] else _last_axis(output)


def _channel_axis_of_transpose(step: Step) -> int:
    rank = len(step.outputs[0].shape)
    axes = [axis % rank for axis in step.operation.axes or reversed(range(rank))]
    return axes.index(step.inputs[0].channel_axis)


def labels_of_einsum_dense(step: Step) -> tuple[str, str, str]:
    """The labels of the axes of an EinsumDense call's input, of the kernel, and of the output."""
    rank = len(step.inputs[0].shape)
    kernel = step.operation.equation.replace(" ", "").split("->")[0].split(",")[1]
    (source, kernel), result = einsum_labels(step.operation.equation, [rank, len(kernel)])
    return source, kernel, result


def labels_of_einsum(step: Step) -> tuple[list[str], str] | None:
    """As `einsum_labels`; None if an operand is no tensor of the graph or nothing is named."""
    if len(step.inputs) != len(step.args):
        return None
    return einsum_labels(step.operation.subscripts, [len(t.shape) for t in step.inputs])


def _fill_in_lengths(step: Step) -> None:
    """Tells the lengths of axes which EinsumDense and attention leave as they are, and open."""
    tensor, labels = step.outputs[0], _labels(step)
    if labels is None or None not in tensor.shape[1:]:
        return
    lengths: dict[str, int | None] = {}
    for operand, source in zip(labels[0], step.inputs, strict=False):
        for label, length in zip(operand, source.shape, strict=True):
            lengths[label] = max(length or 0, lengths.get(label) or 0) or None
    pairs = zip(labels[1], tensor.shape, strict=True)
    tensor.shape = tuple(length or lengths.get(label) for label, length in pairs)


def _labels(step: Step) -> tuple[list[str], str] | None:
    """The labels of the axes of tensors that go in and of the one that comes out, if any are."""
    kind, is_alone = _kind(step.operation), len(step.inputs) == 1
    if kind in ("DotProductAttention", "Dropout", "Softmax") or (kind == "Multiply" and is_alone):
        labels = "abcdefgh"[: len(step.outputs[0].shape)]
        return [labels], labels
    if kind == "EinsumDense":
        source, _, result = labels_of_einsum_dense(step)
        return [source], result
    return labels_of_einsum(step) if kind == "Einsum" else None


def _kind(operation: Any) -> str:
    """Name of the operation's class if it is Keras's, as those behind `keras.ops` are."""
    cls = type(operation)
    return cls.__name__ if cls.__module__.startswith("keras.") else ""


_AXIS_FINDERS = {
    "DotProductAttention": lambda step: 2,  # (batch, time, heads, size)
    "Einsum": _channel_axis_of_einsum,
    "EinsumDense": _channel_axis_of_einsum_dense,
    "Transpose": _channel_axis_of_transpose,
}


def at_one_time(step: Step) -> Step:
    """The call of the layer inside a `TimeDistributed`, its tensors without the time axis."""
    (source,), (output,) = (
        [_without_time(tensor) for tensor in tensors]
        for tensors in ([t for t in step.inputs if len(t.shape) > 2][:1], step.outputs)
    )
    return Step(step.operation.layer, (source,), {}, [output])


def _without_time(tensor: Tensor) -> Tensor:
    batch, _, *others = tensor.shape
    inner = keras.KerasTensor((batch, *others), dtype=tensor.keras_tensor.dtype)
    return Tensor(inner, max(tensor.channel_axis - 1, 1))


# -------------------------------------------------------------------------- hidden activations


def find_hidden_activations(model: keras.Model) -> list[HiddenActivation]:
    """Finds the hidden activations of a Functional or Sequential model.

    A hidden activation is the output of an operation that is an activation, or that has a
    non-linear `activation`; gates (sigmoid, hard_sigmoid), softmax and the model's outputs are not.
    Where the model has any `moda_keras.layers.ModularActivation`, only those count.

    Args:
        model: A built Functional or Sequential model. Nested models are looked into.

    Returns:
        List of `HiddenActivation`, in the order of execution; empty if there is none.

    Raises:
        ValueError: If the model has no graph (a subclassed model) or is not built yet.

    Example:
    >>> import keras
    >>> import moda_keras as mk
    >>> model = keras.Sequential([
    ...     keras.Input((4,)),
    ...     keras.layers.Dense(8, activation="relu", name="features"),
    ...     keras.layers.Dense(3, activation="softmax"),
    ... ])
    >>> mk.find_hidden_activations(model)
    [HiddenActivation(name='features', units=8)]
    """
    return [hidden for hidden, _ in hidden_activations_of(trace(model))]


def hidden_activations_of(graph: Graph) -> list[tuple[HiddenActivation, Tensor]]:
    """The hidden activations of a traced model, each with its tensor in the graph."""
    producers = {tensor: step for step in graph.steps for tensor in step.outputs}
    candidates = [s for s in graph.steps if _is_hidden_activation(s, graph, producers)]
    marked = [s for s in candidates if isinstance(s.operation, ModularActivation)]
    found, taken = [], set()
    for step in marked or candidates:
        tensor = step.outputs[0]
        name = unique_name(step.name, taken)
        hidden = HiddenActivation(
            name=name,
            units=tensor.channels,
            channel_axis=tensor.channel_axis,
            exact_zero=_gives_exact_zeros(step.operation),
            non_negative=is_non_negative(step.operation),
            operation=step.operation,
            tensor=tensor.keras_tensor,
        )
        found.append((hidden, tensor))
    return found


def observed_tensors(graph: Graph) -> dict[Tensor, HiddenActivation]:
    """The tensors that show hidden activations' units: outputs, and states returned beside them."""
    producers = {tensor: step for step in graph.steps for tensor in step.outputs}
    return {
        tensor: hidden
        for hidden, first in hidden_activations_of(graph)
        for tensor in _with_states(first, producers[first])
    }


def _with_states(output: Tensor, step: Step) -> list[Tensor]:
    return step.outputs if isinstance(step.operation, keras.layers.RNN) else [output]


def _is_hidden_activation(step: Step, graph: Graph, producers: dict[Tensor, Step]) -> bool:
    if any(tensor in graph.outputs for tensor in step.outputs):
        return False
    return is_feature_activation(step.operation) or _puts_out_heads(step, producers)


def _puts_out_heads(step: Step, producers: dict[Tensor, Step]) -> bool:
    """Whether the step weighs values by attention: its output has the heads as its channels."""
    if _kind(step.operation) == "DotProductAttention":
        return True
    labels = labels_of_einsum(step) if _kind(step.operation) == "Einsum" else None
    if labels is None or len(step.outputs[0].shape) < 3:
        return False
    heads = labels[0][0][step.inputs[0].channel_axis]
    is_shared = all(heads in operand for operand in [*labels[0], labels[1]])
    return is_shared and _ends_in_softmax(step.inputs[0], producers)


def _ends_in_softmax(tensor: Tensor, producers: dict[Tensor, Step]) -> bool:
    step = producers.get(tensor)
    while step and isinstance(step.operation, keras.layers.Dropout):
        step = producers.get(step.inputs[0])
    return step is not None and activation_name(step.operation) == "softmax"


def is_feature_activation(operation: Any) -> bool:
    """Whether the operation is, or ends in, a non-linearity that gives features."""
    return activation_name(operation) not in _NO_FEATURES


def activation_name(operation: Any) -> str:
    """Name of the non-linearity that the operation is or ends in, without underscores.

    "linear" if it has none.
    """
    if isinstance(operation, keras.layers.TimeDistributed):
        return activation_name(operation.layer)
    if isinstance(operation, ModularActivation):
        name = _function_name(operation.activation)
        return "marked" if name in _NO_FEATURES else name
    activation = getattr(operation, "activation", None)
    if activation is not None:
        return _function_name(activation)
    class_name = type(operation).__name__.lower()
    if isinstance(operation, _ACTIVATION_LAYERS):
        return class_name
    is_call_of_keras_ops = not isinstance(operation, keras.layers.Layer)
    if is_call_of_keras_ops and class_name in _ACTIVATION_OPERATIONS:
        return class_name
    return "linear"


def _function_name(activation: Any) -> str:
    name = getattr(activation, "__name__", None) or type(activation).__name__
    return name.lower().replace("_", "")


def _has_negative_slope(operation: Any) -> bool:
    # The activation of a layer may itself be a layer: `Dense(8, activation=ReLU(...))`.
    layers = (operation, getattr(operation, "activation", None))
    return any(isinstance(op, keras.layers.ReLU) and op.negative_slope for op in layers)


def _gives_exact_zeros(operation: Any) -> bool:
    return activation_name(operation) in _EXACTLY_ZERO and not _has_negative_slope(operation)


def is_non_negative(operation: Any) -> bool:
    """Whether the operation's non-linearity never gives negative values."""
    return activation_name(operation) in _NON_NEGATIVE and not _has_negative_slope(operation)


def unique_name(name: str, taken: set[str]) -> str:
    """`name`, or for a shared layer's further calls `name_1`, `name_2`, ...; adds it to `taken`."""
    unique, count = name, 0
    while unique in taken:
        count += 1
        unique = f"{name}_{count}"
    taken.add(unique)
    return unique


def find_unreadable_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Layers of other packages whose inner activations the graph does not show.

    A layer that contains a `ModularActivation` is not among them: it is marked.
    """
    operations = dict.fromkeys(step.operation for step in trace(model).steps)
    layers = [op for op in operations if isinstance(op, keras.layers.Layer)]
    return [layer for layer in layers if _hides_activations(layer)]


def contains_marked_activation(layer: keras.layers.Layer) -> bool:
    """Whether a layer has a `ModularActivation` among its inner layers."""
    return any(isinstance(inner, ModularActivation) for inner in _inner_layers(layer))


def _hides_activations(layer: keras.layers.Layer) -> bool:
    package = type(layer).__module__.partition(".")[0]
    if package in ("keras", "moda_keras") and not isinstance(layer, keras.Model):
        return False
    if is_feature_activation(layer) or contains_marked_activation(layer):
        return False
    return bool(layer.trainable_weights or _inner_layers(layer))


def _inner_layers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    return list(layer._flatten_layers(include_self=False, recursive=True))


# ------------------------------------------------------------------------------------ inlining


def inline_nested(model: keras.Model) -> tuple[Any, Any]:
    """The inputs and outputs of `model` with nested models and `expansion`s inlined.

    Layers are shared with `model`. Without any the tensors are the model's own. Layers of
    different nested models that bear the same name are renamed, for a Keras model needs unique
    names.

    Args:
        model: A built Functional or Sequential model.

    Returns:
        Inputs and outputs for `keras.Model(inputs, outputs)`, in the model's own structure.
    """
    inputs, outputs = inputs_and_outputs(model)
    if not any(map(_inner_model, _nodes_in_order(model))):
        return inputs, outputs
    graph = trace(model)
    _make_names_unique(graph)
    values = graph.run(model.inputs)
    flat = [values[tensor] for tensor in graph.outputs]
    return inputs, keras.tree.pack_sequence_as(outputs, flat)


def inputs_and_outputs(model: keras.Model) -> tuple[Any, Any]:
    """Inputs and outputs as the user gave them: a tensor, list, or dict."""
    require_graph(model)
    if isinstance(model, Functional):
        return model.input, model.output
    return _unpack(model.inputs), _unpack(model.outputs)


def _unpack(tensors: list) -> Any:
    return tensors[0] if len(tensors) == 1 else tensors


def _make_names_unique(graph: Graph) -> None:
    taken: set[str] = set()
    for operation in dict.fromkeys(step.operation for step in graph.steps):
        name = unique_name(operation.name, taken)
        if name != operation.name:
            operation.name = name
