"""The module of one class."""

import warnings
from typing import TYPE_CHECKING

import keras
import numpy as np

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
        """Parameters of the module as a model of its own, over those of the original."""
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
        check_output(self.modules.slicer, 1, logits=logits)
        plan = self.modules.plan([self.class_index], logits=logits)
        return self.modules.slicer.build(plan, name=name)

    def __repr__(self) -> str:
        kept = sum(int(units.sum()) for units in self.units.values())
        total = sum(len(units) for units in self.units.values())
        return f"<Module of class {self.class_index} ({self.class_name!r}): {kept}/{total} units>"


def check_output(slicer: Slicer, classes: int, *, logits: bool) -> None:
    """Checks that a composed model puts out what it is asked for.

    Args:
        slicer: That of the original.
        classes: Number of chosen classes.
        logits: Whether to leave out the output activation.

    Raises:
        ValueError: If logits are asked for and cannot be read.

    Warns if the output of one class is constant, as a softmax over one logit is, and if a softmax
    is over all classes.
    """
    if logits:
        require_logits(slicer)
        return
    name, step = slicer.model.name, slicer.inner_softmax
    if step is not None:
        warnings.warn(
            f"The softmax {step.name!r} of model {name!r} cannot be taken over the chosen classes "
            "alone, for other operations follow it or its layer is shared: the composed model puts "
            "out what the whole model does for these classes. End the model in its softmax, or in "
            "logits.",
            stacklevel=3,
        )
    if classes == 1 and slicer.is_constant_over_one_class:
        warnings.warn(
            f"The output activation of model {name!r} over one class is constant: the composed "
            "model says nothing. Compose at least two classes, or add an output for none of them "
            "with `other=True` (moda compose --other); `logits=True` gives the class's logit.",
            stacklevel=3,
        )


def require_logits(slicer: Slicer) -> None:
    """Raises a ValueError if a softmax is in the way of a model's logits."""
    if slicer.inner_softmax is not None:
        raise ValueError(
            "Expected a model whose logits can be read: one that ends in logits, or in the softmax "
            f"over them. Received: model {slicer.model.name!r}, whose softmax "
            f"{slicer.inner_softmax.name!r} is followed by other operations, or its layer is shared"
        )
