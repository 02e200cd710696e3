"""Replacing a class of a weak model by another model's module."""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from moda_keras import graph
from moda_keras.modules.module import Module, require_logits
from moda_keras.observing.labelled_arrays import check_batch_size
from moda_keras.reuse.frozen import build_frozen
from moda_keras.slicing import Slicer
from moda_keras.slicing.logits import find_output_activation

STRATEGIES = ("calibrate", "normalize")


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
            weak model has no graph or several outputs, or "normalize" gets no `x`, or one with a
            logit that is not finite.

    Examples:
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
    check_batch_size(batch_size)
    weak_model = graph.to_functional(weak_model)
    classes = _check_weak_model(weak_model, target_class)
    weak, strong = _weak_logits(weak_model), _strong_logit(strong_module)
    fed = _in_order_of_inputs(weak, strong)
    _check_inputs(weak, strong, fed)
    inputs, logits = _merge(weak, strong, fed, target_class, strategy, x, batch_size)
    if strategy == "calibrate":
        calibration = keras.layers.Dense(classes, kernel_initializer="identity", name="calibration")
        logits = calibration(logits)
    output = _output_activation(weak_model)(logits)
    structure = graph.in_structure_of(weak_model, inputs, output)
    return keras.Model(*structure, name=name or f"{weak_model.name}_replaced")


def _check_weak_model(model: keras.Model, target_class: int) -> int:
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
    require_logits(slicer)
    plan = slicer.plan({}, np.arange(model.outputs[0].shape[-1]), logits=True)
    return build_frozen(slicer, plan, "weak_model")


def _strong_logit(module: Module) -> keras.Model:
    """The module as a frozen model that puts out its class's logit."""
    if not isinstance(module, Module):
        raise ValueError(
            "Expected `strong_module` to be a Module, such as `modules[3]`. Received: "
            f"{module} (of type {type(module).__name__})"
        )
    modules, index = module.modules, module.class_index
    require_logits(modules.slicer)
    plan = modules.plan([index], logits=True)
    return build_frozen(modules.slicer, plan, "strong_module")


def _in_order_of_inputs(weak: keras.Model, strong: keras.Model) -> list[int]:
    """For each input of the strong model the place of the weak model's: by name, or by order."""
    weak_names, strong_names = ([t.name for t in model.inputs] for model in (weak, strong))
    if set(weak_names) == set(strong_names):
        return [weak_names.index(name) for name in strong_names]
    return list(range(len(strong_names)))


def _check_inputs(weak: keras.Model, strong: keras.Model, fed: list[int]) -> None:
    expected, received = ([tuple(t.shape) for t in m.inputs] for m in (weak, strong))
    if len(expected) != len(received) or [expected[index] for index in fed] != received:
        raise ValueError(
            f"Expected a strong module whose inputs have the weak model's shapes, {expected}. "
            f"Received: a module with inputs {received}"
        )


def _merge(
    weak: keras.Model,
    strong: keras.Model,
    fed: list[int],
    target_class: int,
    strategy: str,
    x: Any,
    batch_size: int,
) -> tuple[list[keras.KerasTensor], keras.KerasTensor]:
    """Inputs, flat, and the weak logits with the target's replaced."""
    inputs = graph.new_inputs(weak)
    weak_logits = _call_flat(weak, inputs)
    strong_logit = _call_flat(strong, [inputs[index] for index in fed])
    if strategy == "normalize":
        weak_logits = _range_scaling(weak, x, batch_size, "weak_range")(weak_logits)
        strong_logit = _range_scaling(strong, x, batch_size, "strong_range")(strong_logit)
    return inputs, _put_logit(weak_logits, strong_logit, target_class)


def _call_flat(model: keras.Model, inputs: list[keras.KerasTensor]) -> keras.KerasTensor:
    """The one output of a model in inference mode."""
    structure, _ = graph.inputs_and_outputs(model)
    output = model(keras.tree.pack_sequence_as(structure, inputs), training=False)
    return keras.tree.flatten(output)[0]


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
    logits = keras.tree.flatten(model.predict(x, verbose=0, **batching))[0]
    low, high = float(logits.min()), float(logits.max())
    if not math.isfinite(high - low):
        raise ValueError(
            "Expected finite logits for all samples in `x`. Received: NaN or infinity from the "
            f"model {model.name!r}. Check the data and the weights"
        )
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
