"""Fits the logit of "other" to the full model, on samples without labels."""

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from moda_keras.graph import in_structure_of, inputs_and_outputs, new_inputs, unique_name
from moda_keras.observing.labelled_arrays import is_arrays
from moda_keras.slicing import Plan, Slicer

# Pulls towards no change. It matters only where the samples leave the fit open.
RIDGE = 1e-4
MAXIMUM_STEPS = 100
TOLERANCE = 1e-10
BATCH_SIZE = 256


class OtherCalibration(NamedTuple):
    """The logit of "other" as a linear function of the log-sum-exp of either group of logits.

    Attributes:
        dropped_scale: Float, the factor of the log-sum-exp of the dropped logits.
        chosen_scale: Float, the factor of that of the chosen logits.
        shift: Float, what is added.
    """

    dropped_scale: float = 1.0
    chosen_scale: float = 0.0
    shift: float = 0.0


def calibrate_other(
    model: keras.Model, plan: Plan, slicer: Slicer, chosen: int, data: Any
) -> OtherCalibration:
    """Fits the logit of "other" to the probability that the full model gives the dropped classes.

    Args:
        model: A model as `plan_with_other` plans it, with class output (batch, C).
        plan: Its plan.
        slicer: The slicer of the original.
        chosen: k, the number of chosen classes.
        data: Inputs: anything that `predict` takes, of chosen and of dropped classes.

    Returns:
        The calibration.

    Raises:
        ValueError: If logits are not finite, or the full model takes all samples for chosen
            classes or all for dropped ones.
    """
    full = slicer.build(slicer.plan({}, plan.outputs, logits=True))
    logits, full_logits = _predict(model, full, plan, data)
    chosen_sums, dropped_sums = _log_sums(logits, chosen)
    full_chosen, full_dropped = _log_sums(full_logits, chosen)
    is_dropped = full_logits.argmax(axis=1) >= chosen
    if is_dropped.all() or not is_dropped.any():
        raise ValueError(
            "Expected in `other_data` samples of chosen and of dropped classes, a few hundred as "
            f"the model will meet them. Received: {len(is_dropped)} samples, all of which the full "
            f"model takes for {'dropped' if is_dropped.all() else 'chosen'} ones"
        )
    return fit_calibration(chosen_sums, dropped_sums, _sigmoid(full_dropped - full_chosen))


def fit_calibration(
    chosen: np.ndarray, dropped: np.ndarray, target: np.ndarray
) -> OtherCalibration:
    """The logit of "other" whose probability comes closest to a target.

    The probability is sigmoid(other - chosen), as behind a softmax. The mean cross-entropy to the
    target is convex in the coefficients of the logit; Newton's method with halved steps finds its
    minimum. With one coefficient less, that is Platt's scaling (Advances in Large Margin
    Classifiers, 1999).

    Args:
        chosen: Float array (N,), log-sum-exp of the chosen logits.
        dropped: Float array (N,), log-sum-exp of the dropped logits.
        target: Float array (N,) in [0, 1].

    Returns:
        The calibration.

    Examples:
        >>> import numpy as np
        >>> chosen, dropped = np.array([1.0, 3.0, 2.0, 0.0]), np.array([0.0, 1.0, 2.0, 3.0])
        >>> target = 1 / (1 + np.exp(-(0.5 * dropped - 0.5 * chosen + 1)))
        >>> [round(each, 2) for each in fit_calibration(chosen, dropped, target)]
        [0.5, 0.5, 1.0]
    """
    sums = np.stack([dropped, chosen], axis=1)
    mean, deviation = sums.mean(axis=0), sums.std(axis=0)
    deviation[deviation == 0] = 1.0
    features = np.column_stack([(sums - mean) / deviation, np.ones(len(sums))])
    change = _fit_change(features, dropped - chosen, target)
    slopes = change[:2] / deviation
    shift = change[2] - slopes @ mean
    return OtherCalibration(float(1 + slopes[0]), float(slopes[1]), float(shift))


def _fit_change(features: np.ndarray, margin: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The weights of the features that, added to the margins, bring their sigmoid to the target."""

    def loss(weights: np.ndarray) -> float:
        changed = margin + features @ weights
        cross_entropy = np.mean(np.logaddexp(0, changed) - target * changed)
        return cross_entropy + RIDGE / 2 * weights @ weights

    weights = np.zeros(features.shape[1])
    for _ in range(MAXIMUM_STEPS):
        probability = _sigmoid(margin + features @ weights)
        gradient = features.T @ (probability - target) / len(target) + RIDGE * weights
        curvature = probability * (1 - probability) / len(target)
        hessian = (features.T * curvature) @ features + RIDGE * np.eye(len(weights))
        step, current = np.linalg.solve(hessian, gradient), loss(weights)
        while np.abs(step).max() > TOLERANCE and loss(weights - step) > current:
            step /= 2
        if np.abs(step).max() <= TOLERANCE:
            break
        weights = weights - step
    return weights


def _predict(
    model: keras.Model, full: keras.Model, plan: Plan, data: Any
) -> tuple[np.ndarray, np.ndarray]:
    """The class outputs of two models, in one pass over the data."""
    flat = new_inputs(plan.model)
    inputs, _ = in_structure_of(plan.model, flat, *plan.model.outputs)
    names = {tensor.name for tensor in flat}
    named = [
        keras.Model(*inputs_and_outputs(each), name=unique_name(name, names))
        for each, name in ((model, "kept_units"), (full, "all_units"))
    ]
    place = plan.places.index(0)
    outputs = [keras.tree.flatten(each(inputs))[place] for each in named]
    batching = {"batch_size": BATCH_SIZE} if is_arrays(data) else {}
    # Keras's own array loading refuses arrays of strings, and takes tensors of them.
    data = keras.tree.map_structure(
        lambda each: ops.convert_to_tensor(each) if _is_of_strings(each) else each, data
    )
    both = keras.Model(inputs, outputs).predict(data, verbose=0, **batching)
    return tuple(np.asarray(each, "float64") for each in both)


def _is_of_strings(values: Any) -> bool:
    return isinstance(values, np.ndarray) and values.dtype.kind == "O"


def _log_sums(logits: np.ndarray, chosen: int) -> tuple[np.ndarray, np.ndarray]:
    """Log-sum-exp of the chosen logits and of the dropped ones."""
    if not np.isfinite(logits).all():
        raise ValueError(
            "Expected finite logits for all samples in `other_data`. Received: NaN or infinity"
        )
    parts = logits[:, :chosen], logits[:, chosen:]
    return tuple(np.logaddexp.reduce(part, axis=1) for part in parts)


def _sigmoid(margin: np.ndarray) -> np.ndarray:
    return (1 + np.tanh(margin / 2)) / 2
