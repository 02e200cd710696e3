"""Compares a recorded call with the layer itself, on random inputs."""

from typing import Any

import keras
import numpy as np
from keras import ops

from moda_keras.graph.failed_calls import describe
from moda_keras.graph.graph import Graph, Step, Tensor
from moda_keras.graph.operations import accepts_training
from moda_keras.graph.restored_attributes import restoring_attributes
from moda_keras.ops.backends import backend

# In place of unknown lengths: of the batch axis, and of any other.
_BATCH, _LENGTH = 2, 4
# Relative to the largest output; operations may run in another order.
_TOLERANCE = {"float64": 1e-9, "float32": 1e-4, "bfloat16": 0.05, "float16": 0.01}


def find_difference(
    layer: keras.layers.Layer,
    args: tuple,
    kwargs: dict,
    steps: list[Step],
    outputs: list[Tensor],
    source: Tensor,
) -> str | None:
    """Whether steps give something else than the call that they are recorded from.

    Both run on random inputs: in inference with other weights than the layer's, and in training if
    that is not random. Nothing of the layer changes.

    Args:
        layer: The layer.
        args: Positional arguments of its call, with a `Tensor` for each tensor.
        kwargs: Keyword arguments, likewise.
        steps: The recorded steps.
        outputs: What they put out, flat.
        source: What goes into layers that read nothing.

    Returns:
        In words that follow "because" what is different; None if nothing is.
    """
    inputs = list(dict.fromkeys([*_tensors((args, kwargs)), source]))
    traced = Graph(inputs, outputs, steps)
    call = Step(layer, args, kwargs, [])
    random = np.random.default_rng(0)
    values = [random_values(tensor, random) for tensor in inputs]
    other = _other_weights(layer, random)
    with restoring_attributes(layer):
        return _find_difference(call, traced, values, other)


def _find_difference(call: Step, traced: Graph, values: list, other: list[tuple]) -> str | None:
    try:
        if not _agree(call, traced, values, other):
            if _agree(call, traced, values, []):
                return "it derives values from its weights before the call reaches its inputs"
            return "its outputs on random inputs differ from those of its parts"
        if not _agree(call, traced, values, [], training=True):
            return "its outputs in training differ from those of its parts"
    except Exception as error:  # whatever a `call` of the user's raises
        return f"it does not run on random inputs ({describe(error)})"
    return None


def _agree(
    call: Step, traced: Graph, values: list, weights: list[tuple], *, training: bool = False
) -> bool:
    """Whether a call and its parts give the same with some weights; True if that is random."""
    with keras.StatelessScope(weights) as scope, backend.without_gradients():
        expected = _call_layer(call, traced.inputs, values, training)
        if training and _is_random(call.operation, scope):
            return True
        if training and not are_close(expected, _call_layer(call, traced.inputs, values, training)):
            return True
        return are_close(expected, _run(traced, values, training))


def _is_random(layer: keras.layers.Layer, scope: keras.StatelessScope) -> bool:
    """Whether a call has drawn from a random generator; the values may be the same by chance."""
    seeds = [each for each in layer.variables if "seed_generator" in each.path]
    return any(scope.get_current_value(each) is not None for each in seeds)


def _tensors(structure: Any) -> list[Tensor]:
    return [leaf for leaf in keras.tree.flatten(structure) if isinstance(leaf, Tensor)]


def random_values(tensor: Tensor, random: np.random.Generator, open_length: int = _LENGTH) -> Any:
    """Values of the shape and dtype of a tensor, with a length for axes of unknown length."""
    shape = [
        length if length is not None else (open_length if axis else _BATCH)
        for axis, length in enumerate(tensor.shape)
    ]
    dtype = keras.backend.standardize_dtype(tensor.keras_tensor.dtype)
    if dtype == "bool":
        values = random.random(shape) < 0.7
        values[..., :1] = True  # a mask that leaves something
    elif "float" in dtype:
        values = random.normal(size=shape)
    else:
        values = random.integers(0, 2, shape)
    return ops.convert_to_tensor(values, dtype=dtype)


def _other_weights(layer: keras.layers.Layer, random: np.random.Generator) -> list[tuple]:
    """Pairs of each weight and other values of it; those that are never below zero stay so."""
    pairs = []
    for weight in layer.variables:
        dtype = keras.backend.standardize_dtype(weight.dtype)
        if "float" not in dtype:
            continue
        values = ops.convert_to_numpy(weight).astype("float32")
        noise = random.random(values.shape[-1:]).astype("float32")  # one for each channel: quick
        if values.size and values.min() < 0:
            values = -values
        pairs.append(
            (weight, ops.convert_to_tensor(values * (1 + 0.2 * noise) + 0.02 * noise, dtype))
        )
    return pairs


def _call_layer(call: Step, inputs: list[Tensor], values: list, training: bool) -> list:
    args, kwargs = call.arguments(dict(zip(inputs, values, strict=True)))
    if accepts_training(call.operation):
        kwargs["training"] = bool(training)
    elif training:
        with_mode = _InMode(call.operation)
        return keras.tree.flatten(with_mode(*args, training=True, **kwargs))
    return keras.tree.flatten(call.operation(*args, **kwargs))


class _InMode(keras.layers.Layer):
    """Calls a layer that takes no `training` argument in a mode, as a model does."""

    def __init__(self, layer: keras.layers.Layer):
        super().__init__(autocast=False)
        self._convert_input_args = False
        self.held = (lambda *args, **kwargs: layer(*args, **kwargs),)
        self.built = True

    def call(self, *args, training=None, **kwargs):
        return self.held[0](*args, **kwargs)


def _run(traced: Graph, values: list, training: bool) -> list:
    def call(step: Step, args: tuple, kwargs: dict) -> Any:
        if accepts_training(step.operation):
            kwargs = {**kwargs, "training": bool(training)}
        return step.operation(*args, **kwargs)

    found = traced.run(values, call)
    return [found[tensor] for tensor in traced.outputs]


def are_close(first: list, second: list) -> bool:
    """Whether two lists have equal values, up to the precision of their dtypes."""
    return len(first) == len(second) and all(map(_is_close, first, second))


def _is_close(first: Any, second: Any) -> bool:
    dtypes = [keras.backend.standardize_dtype(each.dtype) for each in (first, second)]
    if dtypes[0] != dtypes[1] or tuple(first.shape) != tuple(second.shape):
        return False
    one, other = (ops.convert_to_numpy(ops.cast(each, "float32")) for each in (first, second))
    tolerance = _TOLERANCE.get(dtypes[0], 0.0)
    scale = np.abs(one[np.isfinite(one)]).max(initial=0.0)
    return bool(np.allclose(one, other, rtol=0, atol=tolerance * max(scale, 1e-3), equal_nan=True))
