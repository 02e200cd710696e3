"""What a model's classes are compared by: its logits, not the probabilities of all classes.

A softmax over all classes gives 0 for each of several chosen classes if another class is far above
them. A composed model still tells these apart, for its softmax is over the chosen classes alone.
"""

from typing import Any

import keras
import numpy as np

from moda_keras.evaluation.samples import predict
from moda_keras.graph import Graph, Step, entry_of, require_single_output, trace
from moda_keras.observing.gated_probe import linear_copy
from moda_keras.slicing.logits import (
    find_output_activation,
    has_activation_argument,
    is_constant_over_one_class,
)


def predict_logits(model: keras.Model, x: Any, batch_size: int = 256) -> np.ndarray:
    """The logits of a model that ends in a softmax, or the like; the output of any other model.

    Args:
        model: A built model with one output `(batch, C)`.
        x: As of `predict`.
        batch_size: Batch size for arrays.

    Returns:
        Float array (N, C).

    Raises:
        ValueError: If the model is not built, its `call` is no graph, or its output is another.
    """
    traced = trace(model)
    require_single_output(traced.model)
    step = find_output_activation(traced)
    if step is None or not is_constant_over_one_class(step.operation):
        return predict(model, x, batch_size)
    return predict(_LogitsModel(traced, step), x, batch_size)


class _LogitsModel(keras.Model):
    """Runs a model's graph, with the model's own layers, but for its output activation.

    Args:
        traced: The graph of the model.
        step: That of the output activation.
    """

    def __init__(self, traced: Graph, step: Step):
        super().__init__(name="logits")
        self.model = traced.model
        self.graph = traced
        self.step = step
        is_layer = has_activation_argument(step.operation)
        self.output_layer = linear_copy(step) if is_layer else None
        self.entry = entry_of(traced.model)

    def call(self, inputs, training=False):
        flat = keras.tree.flatten(self.entry(inputs, training=training))
        return self.graph.run(flat, call=self._call_step)[self.graph.outputs[0]]

    def _call_step(self, step: Step, args: tuple, kwargs: dict) -> Any:
        if step is not self.step:
            return step.operation(*args, **kwargs)
        return args[0] if self.output_layer is None else self.output_layer(*args, **kwargs)
