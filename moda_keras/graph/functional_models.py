"""Which models do only what Keras's node graph shows, and their nodes."""

from collections.abc import Callable, Iterator
from typing import Any

import keras


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


def runs_graph(operation: Any) -> bool:
    """Whether `operation` is a built model that does only what its graph shows."""
    if not isinstance(operation, (Functional, keras.Sequential)):
        return False
    call = type(operation).call
    is_known = call in (Functional.call, keras.Sequential.call)
    is_plain = is_known or getattr(call, "runs_graph_alone", False)
    return is_plain and bool(getattr(operation, "outputs", None))


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
