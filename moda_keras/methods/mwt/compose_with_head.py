"""A composed model with a new output layer, to be tuned on a sub-task."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from moda_keras.graph import unique_name
from moda_keras.modules.checks import check_modules
from moda_keras.modules.module import check_output
from moda_keras.modules.module_set import ModuleSet
from moda_keras.slicing.copying import copy_operation
from moda_keras.slicing.logits import has_activation_argument


def compose_with_head(
    modules: ModuleSet, classes: Iterable[int | str], *, name: str | None = None
) -> keras.Model:
    """Builds the paper's model for a sub-task: kernels of its classes, all logits, a new head.

    The model keeps the units that any of the M classes needs, and all N logits. A dense layer with
    random weights maps these to M logits. Train it for a few epochs on the training samples of the
    classes, with labels 0 to M - 1 in the order of `classes`. `modules.compose(classes)` needs no
    training, but is as accurate only where the modules are exact.

    Args:
        modules: The modules of a decomposed model.
        classes: Class indices or names, M of them.
        name: Name of the new model.

    Returns:
        A functional `keras.Model` with output (batch, M) and the original's output activation,
        such as a softmax. All of its layers can be trained as far as the original's can.

    Raises:
        ValueError: If a class is unknown, repeated or without samples, or if operations follow the
            original's softmax.

    Examples:
        >>> import keras
        >>> import moda_keras as mk
        >>> from moda_keras.methods import mwt
        >>> modules = mk.ModuleSet.from_units(mk.zoo.small_cnn((8, 8, 1)), {})
        >>> tuned = mwt.compose_with_head(modules, [3, 7])
        >>> tuned.output_shape, tuned.layers[-1].kernel.shape
        ((None, 2), (10, 2))

    Source: MwT (ICSE 2024), section 3.4.
    """
    check_modules(modules)
    chosen = modules.resolve_classes(classes)
    slicer = modules.slicer
    every = np.arange(modules.num_classes)
    check_output(slicer, len(every), logits=True)
    core = slicer.build(slicer.plan(modules.union(chosen), every, logits=True))
    names = {layer.name for layer in core.layers}
    head = keras.layers.Dense(len(chosen), name=unique_name("head", names))
    outputs = head(keras.tree.flatten(core.output)[0])
    step = slicer.output_activation
    if step is not None:
        outputs = _activation_of(step.operation, unique_name("head_activation", names))(outputs)
    return keras.Model(core.input, keras.tree.pack_sequence_as(core.output, [outputs]), name=name)


def _activation_of(operation: Any, name: str) -> Any:
    """The output activation that an operation is or ends in, as one of its own."""
    if has_activation_argument(operation):
        return keras.layers.Activation(
            operation.activation, dtype=operation.compute_dtype, name=name
        )
    return copy_operation(operation, name)
