"""Slicing in one call."""

from collections.abc import Mapping

import keras
import numpy as np

from moda_keras.slicing.slicer import Slicer


def slice_model(
    model: keras.Model,
    units: Mapping[str, np.ndarray],
    outputs: np.ndarray,
    *,
    name: str | None = None,
    logits: bool = False,
) -> keras.Model:
    """Builds the slim model that has only the chosen units and classes.

    It equals, to float tolerance, the original with every other unit multiplied by zero at its
    hidden activation, read at the chosen logits: the modules of Qi et al., "Modularizing while
    Training" (ICSE 2024) and of MODA (ICSE 2026), with no weight left that only zeros would reach.

    Args:
        model: A built Functional or Sequential model with one output `(batch, classes)`.
        units: Maps names of hidden activations to bool arrays `(units,)`: those that stay.
            Activations that are missing keep all.
        outputs: Int array, the chosen classes, in the order of the new outputs.
        name: Name of the new model.
        logits: Whether to leave out the output activation. Otherwise it stays, over the chosen
            logits: a softmax sums to one over them.

    Returns:
        A functional `keras.Model` with output `(batch, len(outputs))`. Its weights are copies; the
        original is not changed.

    Raises:
        ValueError: If the model has no graph or not one output `(batch, classes)`, or if a name, a
            mask or a class is not of this model.

    Examples:
        >>> import keras
        >>> import numpy as np
        >>> import moda_keras as mk
        >>> model = keras.Sequential([
        ...     keras.Input((4,)),
        ...     keras.layers.Dense(8, activation="relu", name="features"),
        ...     keras.layers.Dense(3, activation="softmax"),
        ... ])
        >>> small = mk.slicing.slice_model(model, {"features": np.arange(8) < 5}, [2, 0])
        >>> [layer.units for layer in small.layers[1:]]
        [5, 2]
    """
    slicer = Slicer(model)
    return slicer.build(slicer.plan(units, outputs, logits=logits), name=name)
