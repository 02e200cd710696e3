"""What slices modules, alone or with the other outputs of the whole model."""

from typing import Any

from moda_keras.modules.module_set import ModuleSet
from moda_keras.slicing import Slicer, WholeModelSlicer


def slicer_of(modules: ModuleSet, keep_outputs: Any = None) -> Slicer:
    """What plans and builds composed models.

    Args:
        modules: The modules.
        keep_outputs: The whole model of which the modules' model is one output; None to compose
            that output alone.

    Returns:
        The slicer.

    Raises:
        ValueError: If the whole model does not have that output, or no other.
    """
    return (
        modules.slicer if keep_outputs is None else WholeModelSlicer(modules.slicer, keep_outputs)
    )
