"""Locates a model's logits: before its output activation, if it has one."""

import warnings
from collections.abc import Set
from typing import Any

import keras
import numpy as np

from moda_keras.graph import (
    Graph,
    Step,
    Tensor,
    activation_name,
    is_feature_activation,
    kind_of,
)

TRIED_LOGITS = np.array([[1.0], [2.0], [3.0]], "float32")
DISTRIBUTIONS = ("softmax", "logsoftmax", "sparsemax")


def find_output_activation(graph: Graph) -> Step | None:
    """The step that is, or ends in, the activation of the model's output; None without one.

    Linear activations may follow it, and casts to another precision. A hidden activation does not
    count as the output's activation, nor does one that is not a function of the logits alone: a
    recurrent layer's, which acts on its state, one with trained slopes, or a softmax with a mask.
    Nor does that of a layer that is called several times.
    """
    producers = {tensor: step for step in graph.steps for tensor in step.outputs}
    tensor = graph.outputs[0]
    while (step := producers.get(tensor)) and _passes_through(step):
        tensor = step.inputs[0]
    if step is None or activation_name(step.operation) == "linear":
        return None
    if len(step.inputs) != 1 or not _acts_on_logits_alone(step.operation, graph):
        return None
    is_hidden = tensor is not graph.outputs[0] and is_feature_activation(step.operation)
    return None if is_hidden else step


def find_inner_softmax(graph: Graph, on_logit_path: Set[Tensor]) -> Step | None:
    """A softmax over the classes that is not the output's activation, or None.

    Args:
        graph: The graph of a model without output activation.
        on_logit_path: The tensors that lead to the output class by class.
    """
    return next(
        (
            step
            for step in graph.steps
            if step.outputs[0] in on_logit_path and activation_name(step.operation) in DISTRIBUTIONS
        ),
        None,
    )


def is_constant_over_one_class(operation: Any) -> bool:
    """Whether an output activation gives one value for any logit of a single class.

    A softmax does, and so may a function of one's own: it is tried on a few logits.
    """
    function = operation.activation if has_activation_argument(operation) else operation
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras says of a softmax what is asked here
            values = keras.ops.convert_to_numpy(function(keras.ops.convert_to_tensor(TRIED_LOGITS)))
    except (TypeError, ValueError, RuntimeError):  # it takes several classes, say
        return False
    return bool(np.ptp(values) == 0)


def has_activation_argument(operation: Any) -> bool:
    """Whether a copy of the operation can be made linear by `activation="linear"`."""
    return getattr(operation, "activation", None) is not None


def _passes_through(step: Step) -> bool:
    operation = step.operation
    if kind_of(operation) == "Cast":
        dtypes = [t.keras_tensor.dtype for t in (*step.inputs, *step.outputs)]
        return all("float" in dtype for dtype in dtypes)
    is_plain = isinstance(operation, (keras.layers.Activation, keras.layers.Identity))
    return is_plain and activation_name(operation) == "linear"


def _acts_on_logits_alone(operation: Any, graph: Graph) -> bool:
    if not has_activation_argument(operation):
        return not getattr(operation, "weights", ())
    is_shared = sum(step.operation is operation for step in graph.steps) > 1
    return not is_shared and not isinstance(operation, keras.layers.RNN)
