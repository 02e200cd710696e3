"""A model with masks for its units, generated for each sample."""

from collections.abc import Sequence
from typing import Any

import keras

from moda_keras.graph import (
    HiddenActivation,
    Tensor,
    hidden_activations_of,
    in_structure_of,
    new_inputs,
    require_single_output,
    trace,
)
from moda_keras.layers.modular_activation import ModularActivation
from moda_keras.methods.nemo.unit_gates import UnitGate, generator_source
from moda_keras.reuse.graph_copy import GraphCopy
from moda_keras.training.modular_model import ModularModel


@keras.saving.register_keras_serializable(package="moda_keras")
class NeMoModel(ModularModel):
    """A model whose units are multiplied by masks that small networks generate for each sample.

    The masks are the hidden activations of this model: `NeMoLoss` contrasts them, and
    `moda_keras.decompose` finds the units whose mask is not zero for most samples of a class. All
    else is as in any `ModularModel`. Build it with `NeMoModel.from_model(model)`.

    Examples:
        >>> import keras
        >>> from moda_keras.methods import nemo
        >>> plain = keras.Sequential([
        ...     keras.Input((4,)),
        ...     keras.layers.Dense(8, activation="relu", name="features"),
        ...     keras.layers.Dense(3, name="logits"),
        ... ])
        >>> model = nemo.NeMoModel.from_model(plain)
        >>> model.hidden_activations
        [HiddenActivation(name='features_mask', units=8)]
        >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        >>> model.compile("adam", loss, modular_loss=nemo.NeMoLoss())

    Source: NeMo (arXiv 2508.11348), abstract, and the authors' code.
    """

    @classmethod
    def from_model(
        cls,
        model: keras.Model,
        name: str | None = None,
        *,
        masked: Sequence[str] | None = None,
    ) -> "NeMoModel":
        """A copy of a model, with a mask generator for each hidden activation.

        Args:
            model: A built Functional or Sequential model with one output (batch, C). It is not
                changed, and shares no weights with the copy.
            name: Name of the new model; that of `model` by default.
            masked: Names of the hidden activations that get masks; all by default. The units of the
                others stay in every module. The authors leave the first one out.

        Returns:
            A `NeMoModel`, with the weights of `model` and generators of random weights.

        Raises:
            ValueError: If the model has no graph or no hidden activation, has marked hidden
                activations, or `masked` names unknown ones.
        """
        graph = trace(model)
        model = graph.model
        require_single_output(model)
        hidden = hidden_activations_of(graph)
        _require_unmarked(model, hidden)
        chosen = _chosen([each.name for each, _ in hidden], masked)
        copies, taken = GraphCopy(graph), {step.name for step in graph.steps}
        gates = {
            tensor: UnitGate(tensor, generator_source(graph, tensor), each.name, taken)
            for each, tensor in hidden
            if each.name in chosen
        }
        inputs = new_inputs(model)
        values: dict[Tensor, Any] = dict(zip(graph.inputs, inputs, strict=True))

        def gated(tensor, value):
            if tensor in gates:
                source = gates[tensor].source
                value = gates[tensor](value, value if source is tensor else values[source])
            values[tensor] = value
            return value

        graph.run(inputs, call=copies.call, transform=gated)
        output = copies.activate(values[graph.outputs[0]])
        copies.copy_weights()
        return cls(*in_structure_of(model, inputs, output), name=name or model.name)


def _require_unmarked(model: keras.Model, hidden: list[tuple[HiddenActivation, Tensor]]) -> None:
    if not hidden:
        raise ValueError(
            "Expected a model with a hidden activation, whose units get masks. Received: model "
            f"{model.name!r}, which has none"
        )
    marked = [each.name for each, _ in hidden if isinstance(each.operation, ModularActivation)]
    if marked:
        raise ValueError(
            "Expected a model without `ModularActivation`, for the masks are what a `NeMoModel` "
            f"marks. Received: model {model.name!r} with {marked}. Use `keras.layers.Activation` "
            "there, and choose the activations by `masked=[...]`"
        )


def _chosen(names: list[str], masked: Sequence[str] | None) -> set[str]:
    """The names of the hidden activations that get masks."""
    if masked is None:
        return set(names)
    if isinstance(masked, str) or not masked or not set(masked) <= set(names):
        raise ValueError(
            f"Expected `masked` to be a list of names of hidden activations, from {names}. "
            f"Received: masked={masked!r}"
        )
    return set(masked)
