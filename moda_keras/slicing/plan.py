"""The plan of a sliced model, before any layer is built."""

import functools
import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from moda_keras.graph import Graph, Step, named_weights
from moda_keras.slicing.parameters import count_parameters, parameters_of
from moda_keras.slicing.registry import Rule, Slice
from moda_keras.slicing.rules.opaque import Opaque


@dataclass(frozen=True, eq=False)
class Fill:
    """How the channels of a tensor become those that an operation is fed with.

    Attributes:
        sources: Int array, per new channel the position of the old one, or -1 for a constant.
        values: Float array, the constants.
    """

    sources: np.ndarray
    values: np.ndarray

    @property
    def key(self) -> tuple[bytes, bytes]:
        """Equal for equal fills."""
        return self.sources.tobytes(), self.values.tobytes()


@dataclass(frozen=True, eq=False)
class PlannedStep:
    """One step of the new model: the original one, the rule's decision, and its inputs' fills."""

    step: Step
    rule: Rule
    slice: Slice
    fills: list[Fill | None]

    @property
    def added_parameters(self) -> int:
        """Parameters that the original does not have: biases that hold folded constants."""
        present = {name for name, _ in named_weights(self.step.operation)}
        new = [weight for name, weight in self.slice.weights.items() if name not in present]
        return sum(math.prod(map(len, weight.axes.values())) for weight in new)


@dataclass(frozen=True, eq=False)
class KeptWeight:
    """What a sliced model has of one weight of the original.

    Attributes:
        variable: The original `keras.Variable`.
        indices: One int array of kept indices per axis; what is kept is their outer product.
        trainable: Whether it is a parameter of the original, trained or frozen (`parameters_of`).
    """

    variable: Any
    indices: list[np.ndarray]
    trainable: bool

    @property
    def size(self) -> int:
        """Number of elements kept."""
        return math.prod(len(indices) for indices in self.indices)


@dataclass(frozen=True, eq=False)
class Plan:
    """The parts of a model to keep; `Slicer.build` makes a Keras model of them.

    Attributes:
        model: The original.
        graph: The original's graph.
        steps: The steps of the new model.
        skipped: The step of the output activation, if left out: what goes in comes out.
        output_fills: For every output of the graph, how its channels become those that the new
            model puts out; None if they are these. Of the first, these are the chosen classes in
            their order; the others have all of their channels.
        outputs: Int array, the chosen classes.
        appended: The step whose activation is applied to the chosen logits, for it is kept whole.
        places: For every output of the model, flat, which one of the graph it is.
    """

    model: keras.Model
    graph: Graph
    steps: list[PlannedStep]
    skipped: Step | None
    output_fills: list[Fill | None]
    outputs: np.ndarray
    appended: Step | None = None
    places: tuple[int, ...] = (0,)

    def __repr__(self) -> str:
        return (
            f"<Plan of {self.model.name!r}: {self.trainable_size:,} parameters, "
            f"{len(self.outputs)} outputs, {len(self.kept_whole)} layers whole>"
        )

    @functools.cached_property
    def kept_weights(self) -> list[KeptWeight]:
        """The kept part of every original weight that is used."""
        trainable = {id(weight) for weight in parameters_of(self.model)}
        kept = {}
        for planned in self.steps:
            for name, weight in named_weights(planned.step.operation):
                shape = tuple(weight.shape)
                sliced = planned.slice.weights.get(name)
                indices = sliced.indices(shape) if sliced else [np.arange(n) for n in shape]
                kept[id(weight)] = KeptWeight(weight, indices, id(weight) in trainable)
        return list(kept.values())

    @functools.cached_property
    def fills(self) -> int:
        """Number of places where channels are picked or filled in: `ChannelFill` layers."""
        read = [
            (tensor, fill)
            for planned in self.steps
            for tensor, fill in zip(planned.step.inputs, planned.fills, strict=True)
        ]
        outputs = zip(self.graph.outputs, self.output_fills, strict=True)
        return len({(tensor, *fill.key) for tensor, fill in [*read, *outputs] if fill})

    @property
    def kept_whole(self) -> list[str]:
        """Names of the layers and operations that are not sliced, for no rule could."""
        whole = {
            planned.step.operation for planned in self.steps if isinstance(planned.rule, Opaque)
        }
        steps = {planned.step.operation: planned.step.name for planned in self.steps}
        return [name for operation, name in steps.items() if operation in whole]

    @property
    def trainable_size(self) -> int:
        """Number of parameters of the sliced model, those of frozen layers too."""
        kept = sum(weight.size for weight in self.kept_weights if weight.trainable)
        return kept + sum(planned.added_parameters for planned in self.steps)

    @property
    def relative_size(self) -> float:
        """Parameters of the sliced model over those of the original.

        Raises:
            ValueError: If the original has no parameters.
        """
        return self.trainable_size / trainable_parameters(self.model)


def trainable_parameters(model: keras.Model) -> int:
    """Number of parameters of a model, frozen ones too; a ValueError if it has none."""
    size = count_parameters(model)
    if size == 0:
        raise ValueError(
            f"Expected a model with parameters to count. Received: model {model.name!r}, which has "
            "none"
        )
    return size
