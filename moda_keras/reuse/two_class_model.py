"""Binary models of one output as models of two classes."""

import keras
import numpy as np

from moda_keras.graph import (
    activation_name,
    in_structure_of,
    new_inputs,
    to_functional,
    trace,
    unique_name,
)
from moda_keras.reuse.graph_copy import GraphCopy

# f(-z) = 1 - f(z), or there is no such function.
_ACTIVATIONS = ("sigmoid", "hardsigmoid", "linear")


def two_class_model(model: keras.Model, *, name: str | None = None) -> keras.Model:
    """Makes a model of two classes of a binary model of one output.

    The logit of class 1 is the model's own logit z, that of class 0 is -z. Both go through the
    model's output activation: behind a sigmoid, which gives p, the outputs are 1 - p and p. The
    result can be decomposed, with labels 0 and 1; modules of one class give the probability of that
    class.

    Args:
        model: A built Functional or Sequential model with output (batch, 1) behind a sigmoid or
            hard sigmoid, or without an activation. The output must be a logit or a probability,
            which cannot be told from that of a regression. The model is copied.
        name: Name of the new model; the model's own by default.

    Returns:
        A functional `keras.Model` with output (batch, 2). The layer that negates the logit does not
        train.

    Raises:
        ValueError: If the model has no graph, has another output, or ends in another activation.

    Examples:
        >>> import keras
        >>> import numpy as np
        >>> import moda_keras as mk
        >>> model = keras.Sequential([
        ...     keras.Input((2,)),
        ...     keras.layers.Dense(4, activation="relu", name="features"),
        ...     keras.layers.Dense(1, activation="sigmoid", kernel_initializer="zeros"),
        ... ])
        >>> two = mk.two_class_model(model)
        >>> two.predict(np.ones((1, 2)), verbose=0).tolist()
        [[0.5, 0.5]]
        >>> modules = mk.decompose(two, np.ones((2, 2)), np.array([0, 1]), verbose=0)
    """
    model = to_functional(model)
    _require_one_output(model)
    graph = trace(model)
    copies = GraphCopy(graph)
    step = copies.output_step
    activation = "linear" if step is None else activation_name(step.operation)
    if activation not in _ACTIVATIONS:
        raise ValueError(
            "Expected a binary model, whose output is a logit or goes through a sigmoid. Received: "
            f"model {model.name!r}, whose output goes through {activation!r}"
        )
    inputs = new_inputs(model)
    logit = graph.run(inputs, call=copies.call)[graph.outputs[0]]
    layer = keras.layers.Dense(
        2, use_bias=False, dtype=logit.dtype, name=unique_name("two_classes", copies.names)
    )
    output = copies.activate(layer(logit))
    copies.copy_weights()
    layer.set_weights([np.array([[-1.0, 1.0]])])
    layer.trainable = False
    return keras.Model(*in_structure_of(model, inputs, output), name=name or model.name)


def _require_one_output(model: keras.Model) -> None:
    shapes = [tuple(tensor.shape) for tensor in model.outputs]
    if len(shapes) != 1 or len(shapes[0]) != 2 or shapes[0][-1] != 1:
        raise ValueError(
            "Expected a binary model with one output of shape (batch, 1). Received: model "
            f"{model.name!r} with outputs of shapes {shapes}"
        )
