"""The module of one class."""

import warnings
from typing import TYPE_CHECKING

import keras
import numpy as np

from moda_keras.graph import activation_name
from moda_keras.slicing import Slicer

if TYPE_CHECKING:
    from moda_keras.modules.module_set import ModuleSet


class Module:
    """The module of one class: a view into a `ModuleSet`.

    Attributes:
        modules: The `ModuleSet`.
        class_index: Int.
    """

    def __init__(self, modules: "ModuleSet", class_index: int):
        self.modules = modules
        self.class_index = class_index

    @property
    def class_name(self) -> str:
        """Name of the class."""
        return self.modules.class_names[self.class_index]

    @property
    def units(self) -> dict[str, np.ndarray]:
        """Dict from activation name to a bool array (D,)."""
        return {name: units[self.class_index] for name, units in self.modules.units.items()}

    @property
    def size(self) -> float:
        """Trainable parameters of the module as a model of its own, over those of the original."""
        return self.modules.plan([self.class_index]).relative_size

    def to_model(self, name: str | None = None, *, logits: bool = False) -> keras.Model:
        """The module as a plain Keras model with the class's output alone.

        Args:
            name: Name of the new model.
            logits: Whether to leave out the output activation. A softmax over one class is
                constant, which a warning says.

        Returns:
            A functional `keras.Model` with output (batch, 1).
        """
        plan = self.modules.plan([self.class_index], logits=logits)
        if not logits:
            warn_of_constant_output(self.modules.slicer)
        return self.modules.slicer.build(plan, name=name)

    def __repr__(self) -> str:
        kept = sum(int(units.sum()) for units in self.units.values())
        total = sum(len(units) for units in self.units.values())
        return f"<Module of class {self.class_index} ({self.class_name!r}): {kept}/{total} units>"


def warn_of_constant_output(slicer: Slicer) -> None:
    """Warns if the output of a model of one class is constant, as a softmax over one logit is."""
    step = slicer.output_activation
    if step is not None and activation_name(step.operation) in ("softmax", "logsoftmax"):
        warnings.warn(
            f"The softmax of model {slicer.model.name!r} over one class is constant. Pass "
            "`logits=True` for the class's logit, or compose at least two classes.",
            stacklevel=3,
        )
