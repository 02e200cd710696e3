"""The baseline of training a small model from scratch."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral
from typing import Any

import keras

from moda_keras.graph import (
    has_changed_weights,
    inputs_and_outputs,
    kind_of,
    new_inputs,
    to_functional,
)
from moda_keras.slicing.copying import copy_operation, copy_weights


def scratch_model(small: keras.Model, *, seed: int | None = None) -> keras.Model:
    """A model of the same architecture with fresh weights, to be trained from scratch.

    Of a composed model it is the rival of the same size: what a user gets who designs a small model
    and trains it on the sub-task alone. Every weight is drawn again by the initializer of its
    layer. Layers that were adapted to data, such as Normalization and StringLookup, keep their
    state, which is no result of training.

    Args:
        small: A built Functional or Sequential model, such as `compose` returns. It is not changed,
            and shares nothing with the new model.
        seed: Int >= 0: the same seed gives the same weights, whatever seeds the initializers have.
            None draws others every time.

    Returns:
        A functional `keras.Model`, not compiled, all of its layers trainable.

    Raises:
        ValueError: If `small` has no graph, `seed` is no such integer, or a layer cannot be made
            anew: it is quantized or has LoRA weights, wraps a PyTorch module, or cannot be created
            from its config.

    Examples:
        >>> import keras
        >>> import numpy as np
        >>> from moda_keras.methods import baselines
        >>> small = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> fresh = baselines.scratch_model(small, seed=0)
        >>> fresh.count_params() == small.count_params()
        True
        >>> np.array_equal(fresh.get_weights()[0], small.get_weights()[0])
        False
    """
    small = to_functional(small)
    if seed is not None and (not isinstance(seed, Integral) or isinstance(seed, bool) or seed < 0):
        raise ValueError(f"Expected `seed` to be an integer >= 0 or None. Received: seed={seed!r}")
    made: dict[Any, Any] = {}

    def make(operation):
        made[operation] = _fresh(operation)
        return made[operation]

    given, returned = inputs_and_outputs(small)
    # A view of the same tensors: a clone of a compiled model would be compiled.
    view = keras.Model(given, returned, name=small.name)
    inputs = keras.tree.pack_sequence_as(given, new_inputs(small))
    with _default_seeds(seed):
        model = keras.models.clone_model(view, inputs, clone_function=make, recursive=True)
    for original, copy in made.items():
        if isinstance(original, keras.layers.Normalization):
            copy_weights(copy, original)
    _unfreeze(model)
    _require_own_weights(model, small)
    return model


def _fresh(operation: Any) -> Any:
    """A layer of the same config, its weights not drawn yet; other operations are copied."""
    if not getattr(operation, "weights", ()) or isinstance(operation, keras.layers.Normalization):
        return copy_operation(operation, operation.name)
    if has_changed_weights(operation):
        raise ValueError(
            "Expected a model without quantized or LoRA weights, which no initializer draws. "
            f"Received: layer {operation.name!r} of class {type(operation).__name__}"
        )
    if kind_of(operation) == "TorchModuleWrapper":
        raise ValueError(
            "Expected layers whose weights Keras's initializers draw. Received: layer "
            f"{operation.name!r}, which wraps a PyTorch module"
        )
    try:
        return type(operation).from_config(_as_new(operation.get_config()))
    except (TypeError, ValueError, NotImplementedError, AttributeError, KeyError) as error:
        raise ValueError(
            f"Layer {operation.name!r} of class {type(operation).__name__} cannot be made anew: it "
            "cannot be created from its config. Give the class a `get_config` that returns all "
            "arguments of its constructor, or a `from_config` that supplies the missing ones"
        ) from error


def _as_new(config: Any, key: str = "") -> Any:
    """A config without seeds of initializers and without frozen layers, at any depth."""
    if key == "trainable":
        return True
    if isinstance(config, (list, tuple)):
        return type(config)(_as_new(each, key) for each in config)
    if not isinstance(config, dict):
        return config
    inner = config.get("config")
    if key.endswith("initializer") and isinstance(inner, dict) and "seed" in inner:
        return {**config, "config": {**inner, "seed": None}}
    return {name: _as_new(value, str(name)) for name, value in config.items()}


def _unfreeze(model: keras.Model) -> None:
    """With TensorFlow, the flag of a model does not reach the layers of models inside it."""
    for layer in model.layers:
        layer.trainable = True
        if isinstance(layer, keras.Model):
            _unfreeze(layer)


@contextmanager
def _default_seeds(seed: int | None) -> Iterator[None]:
    """Within it, the seeds that Keras chooses for initializers and dropout depend on `seed`.

    Keras draws them from Python's generator, as `keras.utils.set_random_seed` says.
    """
    if seed is None:
        yield
        return
    state = random.getstate()
    random.seed(int(seed))
    try:
        yield
    finally:
        random.setstate(state)


def _require_own_weights(model: keras.Model, small: keras.Model) -> None:
    originals = {id(weight) for weight in small.weights}
    shared = [weight.path for weight in model.weights if id(weight) in originals]
    if shared:
        raise ValueError(
            "Expected layers that make their weights in `build`: the new model must not share "
            f"weights with the given one. Received: {shared}, which both would have"
        )
    shapes, expected = ([tuple(w.shape) for w in each.weights] for each in (model, small))
    if shapes != expected:
        raise ValueError(
            "Expected layers whose config tells the shapes of their weights. Received: model "
            f"{small.name!r}, whose weights have the shapes {expected}, where its config gives "
            f"{shapes}"
        )
