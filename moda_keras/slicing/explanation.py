"""What of a model can be cut, what stays whole, and why."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np

from moda_keras.graph import has_changed_weights, kind_of
from moda_keras.html_table import html_table
from moda_keras.slicing.parameters import parameters_of
from moda_keras.slicing.plan import Plan, PlannedStep
from moda_keras.slicing.rules.opaque import WHOLE_ON_PURPOSE, Opaque
from moda_keras.slicing.slicer import Slicer

_HEADER = ["part", "kind", "parameters", "stay", "units", "all outputs stay because"]
NO_UNITS = "its outputs are not units of a hidden activation"


@dataclass(frozen=True)
class Part:
    """One operation of a model.

    Attributes:
        name: Its path in the model.
        kind: Name of its class.
        parameters: Number of its parameters, as `mk.metrics.count_parameters` counts: frozen ones
            too, and no states, such as the moving averages of a batch normalization. Of a shared
            layer, the first call has them.
        kept: Number of parameters that it has in the smallest model: that of the first unit of
            every hidden activation, and of the first class.
        units: Number of units, if it is a hidden activation; None otherwise.
        why_whole: Why all of its outputs stay in every composed model, in words that follow
            "because"; None if they do not, or if most of its parameters go with its inputs.
    """

    name: str
    kind: str
    parameters: int
    kept: int
    units: int | None
    why_whole: str | None


@dataclass(frozen=True)
class Explanation:
    """The parts of a model, as `explain` gives them; `print` shows a table.

    Attributes:
        model_name: Name of the model.
        parts: Its operations, in the order of execution.
    """

    model_name: str
    parts: Sequence[Part]

    @property
    def parameters(self) -> int:
        """Number of parameters of all parts."""
        return sum(part.parameters for part in self.parts)

    @property
    def share(self) -> float:
        """Share of the parameters that can be cut at most; float in [0, 1].

        It is what the smallest model does not have: that of the first unit of every hidden
        activation, and of the first class.
        """
        return 1 - self.kept / self.parameters if self.parameters else 0.0

    @property
    def kept(self) -> int:
        """Number of parameters of the smallest model."""
        return sum(part.kept for part in self.parts)

    @property
    def hidden_activations(self) -> list[Part]:
        """The parts at which units are observed."""
        return [part for part in self.parts if part.units is not None]

    @property
    def whole(self) -> list[Part]:
        """The parts of which all outputs and most parameters stay, or that hide other layers."""
        return [part for part in self.parts if part.why_whole is not None]

    def __str__(self) -> str:
        """A summary, then each part that has units, or has parameters and keeps all outputs."""
        rows = [_HEADER, *self._rows()]
        widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADER) - 1)]
        lines = [self._title()]
        for name, kind, *numbers, why in rows:
            cells = [name.ljust(widths[0]), kind.ljust(widths[1])]
            cells += [text.rjust(n) for text, n in zip(numbers, widths[2:], strict=True)]
            lines.append("  ".join([*cells, why]).rstrip())
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return html_table(self._title(), _HEADER, self._rows())

    def _title(self) -> str:
        shown = min(100 * self.share, 99.9)  # something always stays
        return (
            f"{self.model_name}: {len(self.hidden_activations)} hidden activations; "
            f"at most {shown:.1f} % of {self.parameters:,} parameters can be cut"
        )

    def _rows(self) -> list[list[str]]:
        rows = []
        for part in self.parts:
            if part.units is None and not (part.why_whole and part.parameters):
                continue
            units = "" if part.units is None else str(part.units)
            numbers = [f"{part.parameters:,}", f"{part.kept:,}", units]
            rows.append([part.name, part.kind, *numbers, part.why_whole or ""])
        return rows


def explain(model: keras.Model) -> Explanation:
    """Says what of a model can be cut, what stays whole, and why.

    What can be cut are units of hidden activations, and classes. The figures are those of the
    smallest model, which has the first unit of every hidden activation, and the first class.

    Args:
        model: Any built model.

    Returns:
        An `Explanation`. Printed, it is a table of the hidden activations, and of the layers of
        which all outputs and most parameters stay in every composed model. "stay" are the
        parameters in the smallest model.

    Raises:
        ValueError: If the model is not built, has several outputs, or its `call` is no graph.

    Examples:
        >>> import keras
        >>> import moda_keras as mk
        >>> model = keras.Sequential([
        ...     keras.Input((4,)),
        ...     keras.layers.Dense(8, activation="relu", name="features"),
        ...     keras.layers.LayerNormalization(name="norm"),
        ...     keras.layers.Dense(3, name="logits"),
        ... ], name="pets")
        >>> print(mk.explain(model))
        pets: 1 hidden activations; at most 63.9 % of 83 parameters can be cut
        part      kind                parameters  stay  units  all outputs stay because
        features  Dense                       40     5      8
        norm      LayerNormalization          16    16         its mean is one over all channels, the dropped ones too
    """  # noqa: E501
    slicer = Slicer(model)
    units = {tensor: slicer.units[name] for tensor, name in slicer.hidden.items()}
    smallest = smallest_plan(slicer)
    parameters = {id(weight) for weight in parameters_of(slicer.model)}
    left = {id(weight.variable): weight.size for weight in smallest.kept_weights}
    counted: set[int] = set()
    parts = []
    for planned in smallest.steps:
        step = planned.step
        weights = [w for w in getattr(step.operation, "weights", ()) if id(w) not in counted]
        counted.update(map(id, weights))
        weights = [w for w in weights if id(w) in parameters]
        size = sum(math.prod(w.shape) for w in weights)
        kept = sum(left.get(id(w), 0) for w in weights) + planned.added_parameters
        parts.append(
            Part(
                name=step.name,
                kind=type(step.operation).__name__,
                parameters=size,
                kept=kept,
                units=units.get(step.outputs[0]),
                why_whole=_why_whole(slicer, planned, size, kept),
            )
        )
    return Explanation(slicer.model.name, parts)


def smallest_plan(slicer: Slicer) -> Plan:
    """The plan of the first unit of every hidden activation, and of the first class."""
    return slicer.plan({name: np.arange(d) < 1 for name, d in slicer.units.items()}, np.array([0]))


def _why_whole(slicer: Slicer, planned: PlannedStep, parameters: int, kept: int) -> str | None:
    step = planned.step
    if not isinstance(slicer.rules[step], Opaque):
        is_kept = parameters and 2 * kept >= parameters and _keeps_all_outputs(planned)
        return NO_UNITS if is_kept else None
    layer = step.operation
    if layer in slicer.graph.opaque:
        return slicer.graph.opaque[layer]
    if has_changed_weights(layer):
        return "it is quantized, or has LoRA enabled, in a way that no slicing rule knows"
    kind = kind_of(layer)
    reasons = [why for why, names in WHOLE_ON_PURPOSE.items() if kind in names]
    if reasons:
        return reasons[0]
    if slicer.calls[layer] > 1:
        return "it is called more than once"
    return "no slicing rule fits this call of it"


def _keeps_all_outputs(planned: PlannedStep) -> bool:
    sizes = [(channels.size, len(channels.kept)) for channels in planned.slice.outputs]
    return all(kept == size for size, kept in sizes) and any(size > 1 for size, _ in sizes)
