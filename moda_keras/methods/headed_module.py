"""A module with a head, as a model of its own."""

from collections.abc import Mapping, Sequence

import keras
import numpy as np

from moda_keras.slicing import Slicer


def headed_module(
    slicer: Slicer,
    units: Mapping[str, np.ndarray],
    head: Sequence[np.ndarray],
    *,
    activation: str,
    name: str,
) -> keras.Model:
    """Builds the model of a module's units, with all logits, and a head behind them.

    Args:
        slicer: Of the original.
        units: Dict from activation name to a bool array (D,).
        head: Kernel (inputs, outputs) and bias (outputs,) of each dense layer, in turn. Every layer
            takes the ReLU of what goes in.
        activation: Name of the output's activation.
        name: Name of the model.

    Returns:
        A functional `keras.Model` with output (batch, K).

    Examples:
        >>> import keras
        >>> import numpy as np
        >>> import moda_keras as mk
        >>> from moda_keras.methods.headed_module import headed_module
        >>> model = keras.Sequential([
        ...     keras.Input((2,)),
        ...     keras.layers.Dense(6, activation="relu", name="features"),
        ...     keras.layers.Dense(3),
        ... ])
        >>> head = [np.ones((3, 1)), np.zeros(1)]
        >>> headed_module(
        ...     mk.slicing.Slicer(model),
        ...     {"features": np.arange(6) < 2},
        ...     head,
        ...     activation="sigmoid",
        ...     name="first",
        ... ).count_params()  # (2 + 1) * 2 + (2 + 1) * 3 + (3 + 1) * 1
        19
    """
    classes = slicer.graph.outputs[0].channels
    plan = slicer.plan(units, np.arange(classes), logits=True)
    body = slicer.build(plan)
    values, layers = body.outputs[0], []
    taken = {layer.name for layer in body.layers}
    prefix = "head" if not any(each.startswith("head") for each in taken) else f"{name}_head"
    for index, kernel in enumerate(head[::2]):
        is_last = index == len(head) // 2 - 1
        values = keras.layers.ReLU(name=f"{prefix}_relu_{index}")(values)
        layers.append(
            keras.layers.Dense(
                kernel.shape[1],
                activation=activation if is_last else None,
                dtype="float32",
                name=f"{prefix}_dense_{index}",
            )
        )
        values = layers[-1](values)
    for layer, kernel, bias in zip(layers, head[::2], head[1::2], strict=True):
        layer.set_weights([kernel, bias])
    return keras.Model(body.input, values, name=name)
