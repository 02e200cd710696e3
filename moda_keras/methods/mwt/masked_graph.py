"""Reads the masks in the graph of an `MwTModel`, and the graph that is left without them."""

from dataclasses import dataclass

from moda_keras.graph import (
    Graph,
    HiddenActivation,
    Step,
    Tensor,
    hidden_activations_of,
    kind_of,
)
from moda_keras.layers import ModularActivation
from moda_keras.methods.mwt.convolutions import Convolution, find_convolutions


@dataclass(frozen=True, eq=False)
class Mask:
    """The mask of a convolution's kernels.

    Attributes:
        hidden: The hidden activation that is the mask.
        product: The step that multiplies by it.
        source: The tensor that is multiplied.
        producer: The step that puts out `source`.
    """

    hidden: HiddenActivation
    product: Step
    source: Tensor
    producer: Step


@dataclass(frozen=True, eq=False)
class MaskedGraph:
    """The graph of an `MwTModel`.

    Attributes:
        graph: The whole graph.
        bare: The graph without the generators. The steps that multiply by a mask are there, but
            read the other factor alone.
        masks: The masks by these steps, in the order of execution.
        whole: The convolutions without a mask, of which every module has all kernels.
    """

    graph: Graph
    bare: Graph
    masks: dict[Step, Mask]
    whole: list[Convolution]


def read_masks(graph: Graph, on_logit_path: set[Tensor]) -> MaskedGraph | None:
    """Finds the masks in the graph of a model.

    Args:
        graph: The graph.
        on_logit_path: The tensors that lead to the output class by class.

    Returns:
        A `MaskedGraph`; None if the model has hidden activations that are no masks.
    """
    masks = [_mask_of(graph, each, tensor) for each, tensor in hidden_activations_of(graph)]
    if not masks or None in masks:
        return None
    products = {mask.product: _passing_on(mask) for mask in masks}
    bare = Graph(graph.inputs, graph.outputs, _steps_without(graph, products), graph.model)
    masked = {mask.source for mask in masks}
    whole = [c for c in find_convolutions(bare, on_logit_path) if c.masked not in masked]
    return MaskedGraph(graph, bare, {products[mask.product]: mask for mask in masks}, whole)


def _mask_of(graph: Graph, hidden: HiddenActivation, tensor: Tensor) -> Mask | None:
    readers = [step for step in graph.steps if tensor in step.inputs]
    is_mask = isinstance(hidden.operation, ModularActivation) and hidden.non_negative
    if not is_mask or len(readers) != 1 or kind_of(readers[0].operation) != "Multiply":
        return None
    sources = [each for each in readers[0].inputs if each is not tensor]
    producers = [step for step in graph.steps if sources and sources[0] in step.outputs]
    if len(sources) != 1 or not producers:
        return None
    return Mask(hidden, readers[0], sources[0], producers[0])


def _passing_on(mask: Mask) -> Step:
    product = mask.product
    return Step(product.operation, (mask.source,), {}, product.outputs, product.name)


def _steps_without(graph: Graph, products: dict[Step, Step]) -> list[Step]:
    """The steps that the output needs if those of `products` are taken for the products."""
    needed, steps = set(graph.outputs), []
    for step in reversed(graph.steps):
        if needed.intersection(step.outputs):
            steps.append(products.get(step, step))
            needed.update(steps[-1].inputs)
    return steps[::-1]


def count_unmasked_kernels(graph: Graph, on_logit_path: set[Tensor]) -> int:
    """The number of kernels without a mask in a model with masks; 0 of any other model.

    Args:
        graph: The graph of the model.
        on_logit_path: As of `read_masks`.

    Returns:
        Int.
    """
    masked = read_masks(graph, on_logit_path)
    return 0 if masked is None else sum(each.layer.filters for each in masked.whole)
