"""Units that share their fate: none of a group makes a model smaller unless all of it go."""

from dataclasses import dataclass

import numpy as np

from moda_keras.graph import Step, Tensor
from moda_keras.slicing.registry import Rule
from moda_keras.slicing.slicer import Slicer


@dataclass(frozen=True, eq=False)
class UnitGroups:
    """The groups of the units of a model, numbered from 0 to `number - 1`.

    Attributes:
        number: How many there are.
        of_units: Dict from activation name to an int array (D,): the group of each unit.
        of_outputs: Int array (C,): the group that holds the class's logit as a unit; -1 for none.
    """

    number: int
    of_units: dict[str, np.ndarray]
    of_outputs: np.ndarray

    @property
    def members(self) -> np.ndarray:
        """Int array (groups, activations): how many units a group has in each activation."""
        counts = [np.bincount(ids, minlength=self.number) for ids in self.of_units.values()]
        return np.stack(counts, axis=1)

    def units(self, is_kept: np.ndarray) -> dict[str, np.ndarray]:
        """The units of the groups that stay.

        Args:
            is_kept: Bool array (groups,).

        Returns:
            Dict from activation name to a bool array (D,).
        """
        return {name: is_kept[ids] for name, ids in self.of_units.items()}


def unit_groups(slicer: Slicer) -> UnitGroups:
    """Finds the units that are tied through steps that do not mix channels.

    Sums, normalizations of each channel, activations, depthwise convolutions, pooling and
    concatenations tie what goes in to what comes out. The units of a residual stream are one group
    for each channel, that of all its activations.

    Args:
        slicer: Of the model.

    Returns:
        `UnitGroups`.

    Examples:
        >>> import keras
        >>> from moda_keras.slicing import Slicer, unit_groups
        >>> inputs = keras.Input((4,))
        >>> x = keras.layers.Dense(3, activation="relu", name="first")(inputs)
        >>> y = keras.layers.Dense(3, activation="relu", name="second")(x)
        >>> x = keras.layers.ReLU(name="sum")(keras.layers.Add()([x, y]))
        >>> groups = unit_groups(Slicer(keras.Model(inputs, keras.layers.Dense(2)(x))))
        >>> {name: ids.tolist() for name, ids in groups.of_units.items()}
        {'first': [0, 1, 2], 'second': [0, 1, 2], 'sum': [0, 1, 2]}
    """
    graph = slicer.graph
    tensors = [*graph.inputs, *(tensor for step in graph.steps for tensor in step.outputs)]
    starts = np.cumsum([0, *(tensor.channels or 1 for tensor in tensors)])
    start = dict(zip(tensors, starts.tolist(), strict=False))
    pairs = [pair for step in graph.steps for pair in _tied_in_step(slicer, step, start)]
    pairs += _tied_as_units(slicer, start)
    labels = connected(
        int(starts[-1]), *(np.concatenate(side) for side in zip(*pairs, strict=True))
    )
    first: dict[str, Tensor] = {}
    for tensor, name in slicer.hidden.items():
        first.setdefault(name, tensor)
    found = {name: labels[_channels(first[name], start)] for name in slicer.units}
    roots = np.unique(np.concatenate([*found.values()]))
    outputs = labels[_channels(graph.outputs[0], start)]
    return UnitGroups(
        number=len(roots),
        of_units={name: np.searchsorted(roots, each) for name, each in found.items()},
        of_outputs=np.where(np.isin(outputs, roots), np.searchsorted(roots, outputs), -1),
    )


def fed_channels(rule: Rule, step: Step) -> list[np.ndarray]:
    """The output channel that each input channel feeds, if it feeds one, alone.

    The rule is asked for the inputs of the outputs whose index has a certain bit, and of the
    others; an input that both read feeds several outputs. The index of a single output is that of
    the bits under which it is read.

    Args:
        rule: The rule of the step.
        step: The call of a layer.

    Returns:
        For each input an int array (channels,); -1 for a channel that feeds none or several, or an
        output that others feed too. Channels of several outputs count on, output after output.
    """
    sizes = [tensor.channels or 1 for tensor in step.outputs]
    index = np.arange(sum(sizes))

    def reads(mask: np.ndarray) -> np.ndarray:
        own = np.split(mask, np.cumsum(sizes)[:-1])
        found = rule.needs(step, own if rule.several_outputs else own[0])
        return np.concatenate([np.asarray(each, bool) for each in found])

    is_tied = reads(index >= 0) & ~reads(index < 0)
    fed = np.zeros(len(is_tied), int)
    for bit in range(int(index[-1]).bit_length()):
        has_bit = (index >> bit & 1).astype(bool)
        one, other = reads(has_bit), reads(~has_bit)
        is_tied &= one != other
        if not is_tied.any():
            break
        fed += one.astype(int) << bit
    inputs = np.cumsum([tensor.channels or 1 for tensor in step.inputs])[:-1]
    return [
        _alone(*each) for each in zip(np.split(fed, inputs), np.split(is_tied, inputs), strict=True)
    ]


def connected(number: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The connected components of a graph.

    Args:
        number: How many nodes there are.
        first: Int array (edges,), a node of each edge.
        second: Int array (edges,), the other.

    Returns:
        Int array (number,): the lowest node of each node's component.
    """
    labels = np.arange(number)
    while True:
        before = labels.copy()
        low = np.minimum(labels[first], labels[second])
        for side in (first, second):
            np.minimum.at(labels, before[side], low)
        while not np.array_equal(labels, labels[labels]):
            labels = labels[labels]
        if np.array_equal(labels, before):
            return labels


def _alone(fed: np.ndarray, is_tied: np.ndarray) -> np.ndarray:
    fed = np.where(is_tied, fed, -1)
    found, counts = np.unique(fed, return_counts=True)
    return np.where(np.isin(fed, found[counts > 1]), -1, fed)


def _tied_in_step(
    slicer: Slicer, step: Step, start: dict[Tensor, int]
) -> list[tuple[np.ndarray, np.ndarray]]:
    outputs = np.concatenate([_channels(tensor, start) for tensor in step.outputs])
    pairs = []
    for tensor, fed in zip(step.inputs, fed_channels(slicer.rules[step], step), strict=True):
        pairs.append((_channels(tensor, start)[fed >= 0], outputs[fed[fed >= 0]]))
    return pairs


def _tied_as_units(slicer: Slicer, start: dict[Tensor, int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Tensors that show the same units, and those that calls of one layer with weights put out."""
    first: dict = {}
    pairs = [(np.zeros(0, int), np.zeros(0, int))]
    keys = [(tensor, name) for tensor, name in slicer.hidden.items()]
    for step in slicer.graph.steps:
        if slicer.calls[step.operation] > 1 and getattr(step.operation, "weights", ()):
            keys.append((step.outputs[0], step.operation))
    for tensor, key in keys:
        other = first.setdefault(key, tensor)
        if other is not tensor and other.channels == tensor.channels:
            pairs.append((_channels(other, start), _channels(tensor, start)))
    return pairs


def _channels(tensor: Tensor, start: dict[Tensor, int]) -> np.ndarray:
    return start[tensor] + np.arange(tensor.channels or 1)
