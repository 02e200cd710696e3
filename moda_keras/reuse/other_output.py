"""The output for "none of these": the dropped classes as one class.

The kept units feed the full head. The dropped classes' logits become one logit, their log-sum-exp:
behind a softmax, its probability is the sum of theirs.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from moda_keras.graph import Graph, Step, activation_name, in_structure_of, layer_name, rename
from moda_keras.modules.module_set import ModuleSet
from moda_keras.reuse.other_calibration import OtherCalibration, calibrate_other
from moda_keras.slicing import Plan, Slicer
from moda_keras.slicing.copying import copy_operation
from moda_keras.slicing.logits import has_activation_argument

# Behind these, outputs are no logits: a sum of their exponentials means nothing.
_NORMALIZERS = {"softmax", "logsoftmax", "sparsemax", "sigmoid", "hardsigmoid", "logsigmoid"}


def check_other(other: Any, other_data: Any = None) -> None:
    """Raises a ValueError if the arguments `other` and `other_data` do not fit together."""
    if not isinstance(other, (bool, np.bool_)):
        raise ValueError(
            "Expected `other` to be True or False; samples to calibrate it on go into "
            f"`other_data`. Received: other={other!r}"
        )
    if other_data is not None and not other:
        raise ValueError(
            "Expected `other=True` with `other_data`, the samples that calibrate this output. "
            "Received: other=False"
        )


def outputs_with_other(modules: ModuleSet, chosen: np.ndarray) -> np.ndarray:
    """The outputs from which those with "other" are made.

    Args:
        modules: The modules.
        chosen: Int array (k,), the chosen classes.

    Returns:
        Int array (C,): the chosen classes, then the dropped ones.

    Raises:
        ValueError: If no class is dropped, or the outputs of the model are neither logits nor a
            softmax or log-softmax of them.
    """
    dropped = np.setdiff1d(np.arange(modules.num_classes), chosen)
    if not len(dropped):
        raise ValueError(
            "Expected fewer `classes` than the model has with `other=True`: it stands for the "
            f"dropped ones. Received: all {len(chosen)} classes. Leave out `other`"
        )
    _require_logits(modules.slicer)
    return np.concatenate([chosen, dropped])


def plan_with_other(modules: ModuleSet, slicer: Slicer, chosen: np.ndarray, *, align: int) -> Plan:
    """The plan of a model of all logits over the units of the chosen classes.

    Args:
        modules: The modules.
        slicer: What slices their model, or the whole model that it is one output of.
        chosen: Int array (k,), the chosen classes.
        align: As in `compose`.

    Returns:
        A plan whose outputs are the logits of the chosen classes, then of the dropped ones.

    Raises:
        ValueError: As `outputs_with_other`.
    """
    outputs = outputs_with_other(modules, chosen)
    return slicer.plan(modules.union(chosen), outputs, logits=True, align=align)


def add_other(
    model: keras.Model,
    plan: Plan,
    slicer: Slicer,
    chosen: int,
    *,
    logits: bool,
    data: Any = None,
) -> keras.Model:
    """Replaces the logits of the dropped classes by the output "other".

    Args:
        model: A model of a plan of `plan_with_other`, with class output (batch, C). Its layers are
            used.
        plan: The plan.
        slicer: The slicer of the original.
        chosen: k, the number of chosen classes.
        logits: Whether to leave out the original's output activation.
        data: Inputs on which to calibrate the new logit; by default it stays as it is.

    Returns:
        A functional `keras.Model` with class output (batch, k + 1), of the name of `model`.

    Raises:
        ValueError: As `calibrate_other`.
    """
    calibration = None if data is None else calibrate_other(model, plan, slicer, chosen, data)
    names = {operation.name for operation in model.operations}
    logits_of_all = model.outputs[plan.places.index(0)]
    output = lump_dropped(logits_of_all, chosen, names, calibration)
    if not logits:
        output = _activate(slicer.output_activation, output, names)
    places = zip(plan.places, model.outputs, strict=True)
    outputs = [kept if place else output for place, kept in places]
    inputs, outputs = in_structure_of(slicer.model, model.inputs, *outputs)
    made = keras.Model(inputs, outputs, name=model.name)
    made(inputs)  # Keras's exporters refuse a model that was never called
    return made


def lump_dropped(
    logits: keras.KerasTensor,
    chosen: int,
    names: set[str],
    calibration: OtherCalibration | None = None,
) -> keras.KerasTensor:
    """Replaces the logits of the dropped classes by their log-sum-exp.

    Args:
        logits: Symbolic tensor (batch, C): k chosen logits, then the dropped ones.
        chosen: k.
        names: Names of operations that are taken; those of the new ones are added.
        calibration: What the new logit becomes; by default it stays as it is.

    Returns:
        Symbolic tensor (batch, k + 1), of the dtype of `logits`.
    """
    kept = rename(logits[:, :chosen], "chosen_logits", names)
    dropped = rename(logits[:, chosen:], "dropped_logits", names)
    other = _log_sum(dropped, "other_logit", names)
    if calibration is not None:
        other = _calibrate(kept, other, names, calibration)
    joined = ops.concatenate([kept, other], axis=-1)
    return rename(joined, "logits_with_other", names)


def _log_sum(logits: keras.KerasTensor, name: str, names: set[str]) -> keras.KerasTensor:
    result = rename(ops.logsumexp(logits, axis=-1, keepdims=True), name, names)
    if result.dtype == logits.dtype:
        return result
    # In Keras's graphs, every log-sum-exp is said to be float32.
    return rename(ops.cast(result, logits.dtype), f"{name}_cast", names)


def _calibrate(
    chosen: keras.KerasTensor,
    other: keras.KerasTensor,
    names: set[str],
    calibration: OtherCalibration,
) -> keras.KerasTensor:
    chosen = _log_sum(chosen, "chosen_sum", names)
    from_dropped = keras.layers.Rescaling(
        calibration.dropped_scale,
        dtype=other.dtype,
        name=layer_name("other_from_dropped", names),
    )(other)
    from_chosen = keras.layers.Rescaling(
        calibration.chosen_scale,
        calibration.shift,
        dtype=other.dtype,
        name=layer_name("other_from_chosen", names),
    )(chosen)
    name = layer_name("calibrated_other_logit", names)
    return keras.layers.Add(dtype=other.dtype, name=name)([from_dropped, from_chosen])


def _activate(step: Step | None, logits: keras.KerasTensor, names: set[str]) -> keras.KerasTensor:
    """Applies the original's output activation."""
    if step is None:
        return logits
    if not has_activation_argument(step.operation):
        # Behind the original's softmax there may be a cast, which is now before it.
        is_layer = isinstance(step.operation, keras.layers.Layer)
        config = {"dtype": logits.dtype} if is_layer else {}
        return copy_operation(step.operation, layer_name(step.name, names), **config)(logits)
    name = layer_name(f"{step.name}_activation", names)
    activation = step.operation.activation
    return keras.layers.Activation(activation, dtype=logits.dtype, name=name)(logits)


def _require_logits(slicer: Slicer) -> None:
    """Raises a ValueError unless the outputs are logits, or a (log-)softmax of them."""
    step = slicer.output_activation
    if step is None:
        step = _normalizer_before_output(slicer.graph)
        if step is None:
            return
        received = f"goes on after its {activation_name(step.operation)!r} in {step.name!r}"
    elif _is_softmax(step):
        return
    else:
        received = f"has the output activation {activation_name(step.operation)!r}"
    raise ValueError(
        "Expected a model whose outputs are logits, or the softmax or log-softmax of logits, with "
        "`other=True`: only there do the probabilities of the dropped classes add up to that of "
        f'"other". Received: model {slicer.model.name!r}, which {received}. Compose without '
        "`other`; if every output judges its class alone, as a sigmoid does, a sample is of no "
        "class if all of them are low"
    )


def _is_softmax(step: Step) -> bool:
    """Whether an output activation does what a softmax or a log-softmax does."""
    logits = np.array([[0.0, 1.0, -2.0, 3.0], [0.5, -1.0, 0.0, 0.0]], "float32")
    value = ops.convert_to_tensor(logits)
    if has_activation_argument(step.operation):
        result = step.operation.activation(value)
    else:
        args, kwargs = step.arguments({step.inputs[0]: value})
        result = step.operation(*args, **kwargs)
    received = ops.convert_to_numpy(ops.cast(result, "float32"))
    log_probabilities = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    # The tolerance is that of bfloat16.
    return any(
        np.allclose(received, expected, rtol=0.02, atol=0.02)
        for expected in (np.exp(log_probabilities), log_probabilities)
    )


def _normalizer_before_output(graph: Graph) -> Step | None:
    """A softmax or sigmoid between the last weights and the outputs; None without one."""
    producers = {tensor: step for step in graph.steps for tensor in step.outputs}
    tensors = [graph.outputs[0]]
    while tensors:
        step = producers.get(tensors.pop())
        if step is None:
            continue
        if activation_name(step.operation) in _NORMALIZERS:
            return step
        if not getattr(step.operation, "weights", ()):
            tensors += step.inputs
    return None
