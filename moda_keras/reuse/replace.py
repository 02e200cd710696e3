"""Replacing a class of a weak model by another model's module."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from moda_keras import graph
from moda_keras.modules.module import Module
from moda_keras.slicing import Slicer
from moda_keras.slicing.logits import find_output_activation
from moda_keras.slicing.plan import Plan, PlannedStep

STRATEGIES = ("calibrate", "normalize")
# The arguments of Keras's layers that say how much noise they add in training.
NOISE = {"rate", "stddev", "dropout", "recurrent_dropout"}


def replace(
    weak_model: keras.Model,
    strong_module: Module,
    target_class: int,
    *,
    strategy: str = "calibrate",
    x: Any = None,
    batch_size: int = 32,
    name: str | None = None,
) -> keras.Model:
    """Gives a weak model another model's module for one class.

    The weak model's logit of the target class is replaced by the module's. With "calibrate", a
    dense layer of n x n weights then learns to weigh the logits of two models against each other:
    compile the result and fit it for 3 to 5 epochs; only that layer trains, and it starts from the
    identity. With "normalize", nothing is trained: the logits of each model are scaled by their
    range on training data.

    Args:
        weak_model: A built Functional or Sequential model with one output (batch, n). It is copied.
        strong_module: The module, of a model of any architecture and any classes.
        target_class: Index, in the weak model, of the class to replace.
        strategy: "calibrate" (MODA) or "normalize" (CNNSplitter).
        x: Training inputs, for "normalize": anything that `predict` takes.
        batch_size: Batch size for arrays in `x`.
        name: Name of the new model.

    Returns:
        A plain functional `keras.Model` with output (batch, n), and the weak model's output
        activation. The frozen parts run in inference mode, also while the rest trains.

    Raises:
        ValueError: If the target class is not one of the weak model's, the input shapes differ, the
            weak model has no graph or several outputs, or "normalize" gets no `x`.

    Example:
        ```python
        patched = mk.replace(weak_model, strong_modules["cat"], target_class=3)
        patched.compile("adam", loss)
        patched.fit(x_train, y_train, epochs=5)
        ```

    Source: MODA (ICSE 2026), section 3.4; CNNSplitter (ASE 2022) for "normalize".
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"Expected `strategy` in {STRATEGIES}. Received: strategy={strategy!r}")
    if strategy == "normalize" and x is None:
        raise ValueError(
            'Expected training inputs `x` with `strategy="normalize"`, to see the range of the '
            "logits. Received: x=None"
        )
    classes = _check_weak_model(weak_model, target_class)
    weak, strong = _weak_logits(weak_model), _strong_logit(strong_module)
    _check_inputs(weak, strong)
    inputs, logits = _merge(weak, strong, target_class, strategy, x, batch_size)
    if strategy == "calibrate":
        calibration = keras.layers.Dense(classes, kernel_initializer="identity", name="calibration")
        logits = calibration(logits)
    outputs = _output_activation(weak_model)(logits)
    return keras.Model(inputs, outputs, name=name or f"{weak_model.name}_replaced")


def _check_weak_model(model: keras.Model, target_class: int) -> int:
    graph.require_graph(model)
    graph.require_single_output(model)
    classes = model.outputs[0].shape[-1]
    is_index = isinstance(target_class, (int, np.integer)) and not isinstance(target_class, bool)
    if not is_index or not 0 <= target_class < classes:
        raise ValueError(
            f"Expected `target_class` from 0 to {classes - 1}, a class of the weak model. "
            f"Received: target_class={target_class!r}"
        )
    return classes


def _weak_logits(model: keras.Model) -> keras.Model:
    """A frozen copy of the weak model that puts out logits."""
    slicer = Slicer(model)
    plan = slicer.plan({}, np.arange(model.outputs[0].shape[-1]), logits=True)
    return _build_frozen(slicer, plan, "weak_model")


def _strong_logit(module: Module) -> keras.Model:
    """The module as a frozen model that puts out its class's logit."""
    if not isinstance(module, Module):
        raise ValueError(
            "Expected `strong_module` to be a Module, such as `modules[3]`. Received: "
            f"{module} (of type {type(module).__name__})"
        )
    modules, index = module.modules, module.class_index
    plan = modules.plan([index], logits=True)
    return _build_frozen(modules.slicer, plan, "strong_module")


def _build_frozen(slicer: Slicer, plan: Plan, name: str) -> keras.Model:
    """Builds a frozen model that behaves in training as in inference.

    The `training=True` of a whole model overrules a `training=False` in its graph. Frozen
    BatchNormalization layers run in inference mode all the same, and layers of noise get a rate of
    zero.
    """
    plan = dataclasses.replace(plan, steps=[_made_noiseless(step) for step in plan.steps])
    model = slicer.build(plan, name=name)
    model.trainable = False
    return model


def _made_noiseless(planned: PlannedStep) -> PlannedStep:
    operation = planned.step.operation
    is_layer = isinstance(operation, keras.layers.Layer)
    if not is_layer or not graph.is_keras_class(graph.plain_class(operation)):
        return planned
    off = dict.fromkeys(NOISE & operation.get_config().keys(), 0.0)
    changed = dataclasses.replace(planned.slice, config={**planned.slice.config, **off})
    return dataclasses.replace(planned, slice=changed)


def _check_inputs(weak: keras.Model, strong: keras.Model) -> None:
    expected, received = ([tuple(t.shape) for t in m.inputs] for m in (weak, strong))
    if expected != received:
        raise ValueError(
            f"Expected a strong module whose inputs have the weak model's shapes, {expected}. "
            f"Received: a module with inputs {received}"
        )


def _merge(
    weak: keras.Model,
    strong: keras.Model,
    target_class: int,
    strategy: str,
    x: Any,
    batch_size: int,
) -> tuple[Any, keras.KerasTensor]:
    """Inputs, and the weak logits with the target's replaced."""
    inputs = keras.tree.map_structure(
        lambda t: keras.Input(batch_shape=t.shape, dtype=t.dtype, name=t.name), weak.input
    )
    flat = keras.tree.flatten(inputs)
    weak_logits = weak(inputs, training=False)
    strong_logit = strong(flat if len(flat) > 1 else flat[0], training=False)
    if strategy == "normalize":
        weak_logits = _range_scaling(weak, x, batch_size, "weak_range")(weak_logits)
        strong_logit = _range_scaling(strong, x, batch_size, "strong_range")(strong_logit)
    return inputs, _put_logit(weak_logits, strong_logit, target_class)


def _put_logit(
    logits: keras.KerasTensor, logit: keras.KerasTensor, target_class: int
) -> keras.KerasTensor:
    parts = [logit]
    if target_class > 0:
        parts.insert(0, logits[:, :target_class])
    if target_class < logits.shape[-1] - 1:
        parts.append(logits[:, target_class + 1 :])
    return ops.concatenate(parts, axis=-1)


def _range_scaling(model: keras.Model, x: Any, batch_size: int, name: str) -> keras.layers.Layer:
    """Maps the range of a model's logits on `x` to [0, 1]."""
    batching = {"batch_size": batch_size} if hasattr(x, "shape") else {}
    logits = model.predict(x, verbose=0, **batching)
    low, high = float(logits.min()), float(logits.max())
    scale = 1.0 / (high - low) if high > low else 1.0
    return keras.layers.Rescaling(scale, offset=-low * scale, name=name)


def _output_activation(model: keras.Model) -> Callable:
    """The activation that the model's outputs went through, or the identity."""
    step = find_output_activation(graph.trace(model))
    if step is None:
        return lambda logits: logits
    activation = getattr(step.operation, "activation", None)
    if activation is not None:
        return keras.layers.Activation(activation, name="output_activation")
    return type(step.operation).from_config(step.operation.get_config())
