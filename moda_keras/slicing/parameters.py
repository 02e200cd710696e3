"""Which weights of a model are parameters: what its size is counted in."""

import math

import keras

from moda_keras.graph import has_changed_weights

# Weights that hold a state, whoever trains: by the names that Keras gives them.
_STATES = {"moving_mean", "moving_variance", "seed_generator_state", "vector_u"}


def parameters_of(model: keras.Model) -> list[keras.Variable]:
    """The weights that are trained, or were: those of frozen and quantized layers too.

    For a model without such layers, these are its trainable weights. Moving averages, seeds and
    other states are no parameters.

    Args:
        model: A built model.

    Returns:
        List of variables, each once.

    Examples:
        >>> import keras
        >>> from moda_keras.slicing.parameters import parameters_of
        >>> model = keras.Sequential([
        ...     keras.Input((4,)), keras.layers.Dense(3), keras.layers.BatchNormalization()
        ... ])
        >>> [weight.name for weight in parameters_of(model)]
        ['kernel', 'bias', 'gamma', 'beta']
        >>> model.trainable = False
        >>> len(model.trainable_weights), len(parameters_of(model))
        (0, 4)
    """
    found = {id(weight): weight for weight in model.trainable_weights}
    for layer in model._flatten_layers(include_self=True, recursive=True):
        if layer.trainable and not has_changed_weights(layer):
            continue
        found |= {id(weight): weight for weight in layer.weights if weight.name not in _STATES}
    states = _states_of_normalizations(model)
    ordered = {id(weight): weight for weight in model.weights if id(weight) in found}
    return [weight for key, weight in ordered.items() if key not in states]


def count_parameters(model: keras.Model) -> int:
    """The number of elements of `parameters_of(model)`; a ValueError if the model is not built."""
    if not model.built:
        raise ValueError(
            f"Expected a built model, to count its parameters. Received: model {model.name!r}, "
            "which has no weights yet. Call it once on data"
        )
    return sum(math.prod(weight.shape) for weight in parameters_of(model))


def _states_of_normalizations(model: keras.Model) -> set[int]:
    """Mean, variance and count of `Normalization` layers, which have no other weights."""
    return {
        id(weight)
        for layer in model._flatten_layers(include_self=False, recursive=True)
        if isinstance(layer, keras.layers.Normalization)
        for weight in layer.weights
    }
