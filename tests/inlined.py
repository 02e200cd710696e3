"""A model run by its graph: nested models and expansions inlined."""

from moda_keras import graph
from moda_keras.training.taps import TappedModel


class Inlined:
    def __init__(self, model):
        self.graph = graph.trace(model)
        self.inputs, self.layers = model.inputs, []
        self.tapped = TappedModel(self.graph)
        self.operations = list(dict.fromkeys(step.operation for step in self.graph.steps))
        self.weights = [w for op in self.operations for w in getattr(op, "weights", ())]

    def __call__(self, inputs, training=None):
        return self.tapped(inputs, training)[0]
