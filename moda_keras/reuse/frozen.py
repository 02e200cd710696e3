"""Frozen parts of a model, which behave in training as in inference.

The `training=True` of a whole model overrules a `training=False` in its graph, and only
BatchNormalization heeds that it is frozen. So whatever draws at random is taken out.
"""

import dataclasses
import warnings
from typing import Any

import keras

from moda_keras import graph
from moda_keras.slicing import Slicer
from moda_keras.slicing.plan import Plan, PlannedStep

# The arguments of Keras's layers that say how much noise they add in training.
NOISE = {"rate", "stddev", "dropout", "recurrent_dropout"}
# Where the config of a layer has those of the layers inside it.
INNER = ("layer", "backward_layer", "cell", "cells")
# Layers of images that pass them on unchanged in inference.
RANDOM_LAYERS = tuple(
    cls
    for name, cls in vars(keras.layers).items()
    if name in ("AugMix", "RandAugment") or (name.startswith("Random") and name != "RandomCrop")
)


def build_frozen(slicer: Slicer, plan: Plan, name: str) -> keras.Model:
    """Builds a frozen model.

    Args:
        slicer: The slicer of the original.
        plan: What to build.
        name: Name of the model.

    Returns:
        A functional `keras.Model`, its weights not trainable. A warning names layers that may
        still behave otherwise in training.
    """
    noisy = [planned.step.name for planned in plan.steps if _stays_noisy(planned.step)]
    if noisy:
        warnings.warn(
            f"The layers {noisy} of model {slicer.model.name!r} may behave otherwise in training, "
            "also frozen. Take them out of the model if they draw at random or change their state",
            stacklevel=4,
        )
    plan = dataclasses.replace(plan, steps=[_made_noiseless(planned) for planned in plan.steps])
    model = slicer.build(plan, name=name)
    model.trainable = False
    return model


def _made_noiseless(planned: PlannedStep) -> PlannedStep:
    step = planned.step
    operation = _in_inference(step)
    if operation is not step.operation:
        step = dataclasses.replace(step, operation=operation, args=(step.inputs[0],), kwargs={})
        return dataclasses.replace(planned, step=step)
    if not isinstance(operation, keras.layers.Layer) or not _is_of_keras(operation):
        return planned
    config = {**operation.get_config(), **planned.slice.config}
    changed = dataclasses.replace(
        planned.slice, config={**planned.slice.config, **_without_noise(config)}
    )
    return dataclasses.replace(planned, slice=changed)


def _in_inference(step: graph.Step) -> Any:
    """What the operation of a step is in inference: itself, or another layer."""
    operation = step.operation
    if isinstance(operation, keras.layers.SpectralNormalization):
        return operation.layer
    if isinstance(operation, keras.layers.Pipeline):
        quiet = [each for each in operation.layers if not isinstance(each, RANDOM_LAYERS)]
        return keras.layers.Pipeline(quiet, name=operation.name) if quiet else _identity(step)
    is_random = isinstance(operation, RANDOM_LAYERS) and _keeps_dtype(step)
    return _identity(step) if is_random else operation


def _identity(step: graph.Step) -> keras.layers.Layer:
    return keras.layers.Identity(
        dtype=step.operation.dtype_policy, name=step.name.replace("/", "_")
    )


def _keeps_dtype(step: graph.Step) -> bool:
    return step.inputs[0].keras_tensor.dtype == step.outputs[0].keras_tensor.dtype


def _without_noise(config: dict[str, Any]) -> dict[str, Any]:
    """The entries of a layer's config that change if it adds no noise, at any depth."""
    changed: dict[str, Any] = dict.fromkeys(NOISE & config.keys(), 0.0)
    for key in INNER:
        inner = config.get(key)
        if isinstance(inner, dict):
            changed[key] = _inner_without_noise(inner)
        elif isinstance(inner, (list, tuple)):
            changed[key] = [_inner_without_noise(each) for each in inner]
    return changed


def _inner_without_noise(serialized: dict[str, Any]) -> dict[str, Any]:
    if not str(serialized.get("module")).startswith("keras."):
        return serialized
    config = serialized["config"]
    return {**serialized, "config": {**config, **_without_noise(config)}}


def _stays_noisy(step: graph.Step) -> bool:
    """Whether nothing is known of what the operation of a step does in training."""
    operation = step.operation
    if not isinstance(operation, keras.layers.Layer) or not graph.accepts_training(operation):
        return False
    if isinstance(operation, keras.layers.Pipeline):
        return any(isinstance(each, keras.layers.RandomCrop) for each in operation.layers)
    is_random = isinstance(operation, (*RANDOM_LAYERS, keras.layers.RandomCrop))
    if is_random and _in_inference(step) is operation:
        return True
    inner = getattr(operation, "layer", getattr(operation, "cell", None))
    return not (_is_of_keras(operation) and (inner is None or _is_of_keras(inner)))


def _is_of_keras(operation: Any) -> bool:
    return graph.is_keras_class(graph.plain_class(operation))
