"""Finds the graph of one model in that of another with the same layers."""

from typing import Any

import keras
import numpy as np

from moda_keras.graph.failed_calls import describe
from moda_keras.graph.graph import Graph, Step, Tensor
from moda_keras.graph.inlining_proof import are_close, random_values
from moda_keras.graph.operations import named_weights
from moda_keras.ops.backends import backend

# In place of unknown lengths; a network of many strides needs long ones.
_LENGTHS = (4, 32, 256)


class NoCommonPart(Exception):
    """One graph is not part of another; the message says where they differ."""


def find_common_part(part: Graph, whole: Graph, output: Tensor) -> dict[Tensor, Tensor]:
    """The tensors of a graph that are those of another one.

    They are found backwards from the outputs: the same classes of layers and operations, called in
    the same way, with the same weights. Where they are other objects, as in a model that was loaded
    again, both graphs also run on random inputs.

    Args:
        part: A graph with one output.
        whole: The other graph.
        output: The tensor of `whole` that should be the output of `part`.

    Returns:
        Dict from the tensors of `part` that lead to its output to those of `whole`.

    Raises:
        NoCommonPart: If the output is made in another way.
    """
    found = _Matching(part, whole).run(output)
    _require_equal_values(part, whole, found)
    return found


class _Matching:
    def __init__(self, part: Graph, whole: Graph):
        self.inputs = _paired_inputs(part, whole)
        self.whole_inputs = set(whole.inputs)
        self.part_makers, self.whole_makers = _makers(part), _makers(whole)
        self.part = part

    def run(self, output: Tensor) -> dict[Tensor, Tensor]:
        found: dict[Tensor, Tensor] = {}
        pairs = [(self.part.outputs[0], output)]
        while pairs:
            own, other = pairs.pop()
            if own not in found:
                pairs += self.match(own, other, found)
            if found[own] is not other:
                raise NoCommonPart(f"what {self.maker_of(own)!r} puts out goes into other layers")
        return found

    def maker_of(self, tensor: Tensor) -> str:
        made = self.part_makers.get(tensor)
        return tensor.keras_tensor.name if made is None else made[0].name

    def match(
        self, own: Tensor, other: Tensor, found: dict[Tensor, Tensor]
    ) -> list[tuple[Tensor, Tensor]]:
        """Notes a pair of tensors, and gives the pairs that these are made of."""
        if own in self.inputs or other in self.whole_inputs:
            if self.inputs.get(own) is not other:
                raise NoCommonPart("it is made of other inputs")
            found[own] = other
            return []
        (step, place), (other_step, other_place) = self.part_makers[own], self.whole_makers[other]
        if place != other_place:
            raise NoCommonPart(f"it reads another output of {step.name!r}")
        _require_same(step, other_step)
        found.update(zip(step.outputs, other_step.outputs, strict=True))
        return list(zip(step.inputs, other_step.inputs, strict=True))


def _paired_inputs(part: Graph, whole: Graph) -> dict[Tensor, Tensor]:
    """The inputs by their names; by their order, if those were given by Keras."""
    by_name = {tensor.keras_tensor.name: tensor for tensor in whole.inputs}
    names = [tensor.keras_tensor.name for tensor in part.inputs]
    if all(name in by_name for name in names):
        return {tensor: by_name[name] for tensor, name in zip(part.inputs, names, strict=True)}
    return dict(zip(part.inputs, whole.inputs, strict=False))


def _makers(graph: Graph) -> dict[Tensor, tuple[Step, int]]:
    return {
        tensor: (step, place) for step in graph.steps for place, tensor in enumerate(step.outputs)
    }


def _require_same(step: Step, other: Step) -> None:
    one, two = step.operation, other.operation
    kinds = [(type(each).__module__, type(each).__qualname__) for each in (one, two)]
    if kinds[0] != kinds[1]:
        raise NoCommonPart(
            f"{other.name!r} is of class {kinds[1][1]}, and {step.name!r} of class {kinds[0][1]}"
        )
    if [_described(each) for each in step.outputs] != [_described(each) for each in other.outputs]:
        raise NoCommonPart(f"{other.name!r} has an output of another shape than {step.name!r}")
    if one is not two and not _have_same_weights(one, two):
        raise NoCommonPart(f"{other.name!r} has other weights than {step.name!r}")
    if not _are_called_alike(step, other):
        raise NoCommonPart(f"{other.name!r} is called with other arguments than {step.name!r}")


def _described(tensor: Tensor) -> tuple:
    return tensor.shape, tensor.channel_axis, tensor.keras_tensor.dtype


def _have_same_weights(one: Any, two: Any) -> bool:
    weights = [[weight for _, weight in named_weights(each)] for each in (one, two)]
    if len(weights[0]) != len(weights[1]):
        return False
    return all(a is b or _is_same_array(a, b) for a, b in zip(*weights, strict=True))


def _is_same_array(one: Any, two: Any) -> bool:
    arrays = (keras.ops.convert_to_numpy(each) for each in (one, two))
    return np.array_equal(*(each.astype("float64") for each in arrays), equal_nan=True)


def _are_called_alike(step: Step, other: Step) -> bool:
    leaves = [
        [Tensor if isinstance(leaf, Tensor) else leaf for leaf in keras.tree.flatten(arguments)]
        for arguments in ((step.args, step.kwargs), (other.args, other.kwargs))
    ]
    if len(leaves[0]) != len(leaves[1]):
        return False
    return all(a is b or repr(a) == repr(b) for a, b in zip(*leaves, strict=True))


def _require_equal_values(part: Graph, whole: Graph, found: dict[Tensor, Tensor]) -> None:
    """Runs both on random inputs, if their operations are not the very same."""
    makers, other_makers = _makers(part), _makers(whole)
    pairs = [(makers[own][0], other_makers[two][0]) for own, two in found.items() if own in makers]
    if all(step.operation is other.operation for step, other in pairs):
        return
    own_steps, other_steps = ({pair[side] for pair in pairs} for side in (0, 1))
    output = part.outputs[0]
    for length in _LENGTHS:
        random = np.random.default_rng(0)
        values = {
            tensor: random_values(tensor, random, length)
            for tensor in part.inputs
            if tensor in found
        }
        inputs = {found[tensor]: each for tensor, each in values.items()}
        try:
            with backend.without_gradients():
                first = _run(part, own_steps, values)[output]
                second = _run(whole, other_steps, inputs)[found[output]]
        except Exception as error:  # whatever a layer raises
            failure = error
            continue
        if not are_close([first], [second]):
            raise NoCommonPart("on random inputs it has other values")
        return
    raise NoCommonPart(f"it does not run on random inputs ({describe(failure)})") from failure


def _run(graph: Graph, steps: set[Step], values: dict[Tensor, Any]) -> dict[Tensor, Any]:
    """The values of the tensors that some steps of a graph make."""
    inputs = list(values)
    chosen = [step for step in graph.steps if step in steps]
    return Graph(inputs, [], chosen).run(list(values.values()))
