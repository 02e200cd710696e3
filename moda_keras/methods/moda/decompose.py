"""Finds the modules of a trained model."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from moda_keras.graph import (
    Graph,
    activation_name,
    describe_overlooked_operations,
    find_unreadable_layers,
)
from moda_keras.messages import listed
from moda_keras.modules.class_names import check_class_names
from moda_keras.modules.module_set import ModuleSet
from moda_keras.modules.selection import Threshold, check_threshold
from moda_keras.observing.activation_counts import ActivationCounts, MultiLabelCounts
from moda_keras.observing.activation_observer import ActivationObserver
from moda_keras.observing.criteria import FREQUENCY, Criterion, find_criterion
from moda_keras.observing.epsilons import choose_automatically, resolve_epsilons
from moda_keras.observing.importance_observer import ImportanceObserver
from moda_keras.observing.labelled_arrays import (
    as_class_indices,
    check_batch_size,
    check_data,
    check_shapes,
    check_steps,
    is_arrays,
)
from moda_keras.ops import check_labels, check_multi_hot
from moda_keras.ops.labels import check_sample_weight
from moda_keras.slicing import Slicer
from moda_keras.slicing.outgoing_norms import outgoing_norms


def decompose(
    model: keras.Model,
    x: Any,
    y: Any = None,
    *,
    threshold: Threshold = 0.9,
    criterion: str | Criterion = FREQUENCY,
    class_names: Sequence[str] | None = None,
    epsilon: float | str | Mapping[str, float] = "auto",
    batch_size: int | None = None,
    sample_weight: Any = None,
    steps: int | None = None,
    multi_label: bool = False,
    verbose: str | int = "auto",
) -> ModuleSet:
    """Finds the modules of a trained model, in one pass over its training data.

    A unit is in the module of a class if it is active for at least a fraction `threshold` of the
    class's samples. A unit is active if it is not zero; a channel of a map, an attention head or a
    recurrent unit, if it is not at any position or time. Where a non-linearity is never exactly
    zero (GELU, tanh, ...), a unit is active if its magnitude exceeds `epsilon`.

    Args:
        model: Any built Functional or Sequential model with one output (batch, C), modular or not.
            It runs in inference mode.
        x: Training data: anything that `fit` takes (arrays, `tf.data.Dataset`, `DataLoader`,
            `PyDataset`, generator).
        y: Labels, if `x` does not hold them: integers (N,), one-hot (N, C), or names of classes
            (N,). A criterion other than "frequency" needs none: samples without labels are of the
            class that the model predicts.
        threshold: Float in [0, 1], or a dict with one for each hidden activation.
        criterion: What else to measure, for `modules.within`: with "frequency" nothing; with
            "importance", for models not trained modularly, how much the loss of a class's samples
            depends on each unit, at the cost of a backward pass; with "variance", how much a unit
            varies within a class, times the norm of the weights that read it. Or a
            `moda_keras.criteria.Criterion` of your own. The loss is the cross-entropy of the
            logits before a softmax; the binary one before a sigmoid; of other models that of a
            softmax over the outputs. `modules.importance` holds what is measured.
        class_names: C names; "0", "1", ... by default.
        epsilon: For the non-linearities that give no exact zeros: "auto" chooses one for each
            hidden activation, the median magnitude of its units over up to 2,000 samples of `x`, as
            `choose_epsilons` does. Or a float >= 0 for all, or a dict from names of hidden
            activations to such floats.
        batch_size: Positive int, for arrays; 32 by default, as in Keras.
        sample_weight: Optional weights (N,), numbers >= 0. Samples of weight 0 are not counted; by
            how much a weight is above 0 does not matter.
        steps: Number of batches to draw; needed for an endless generator.
        multi_label: Whether a sample may be in any number of classes: the model's outputs are then
            independent of each other (sigmoids, or their logits), and labels are multi-hot rows
            (N, C) of 0 and 1. A sample counts in every class that it is in.
        verbose: "auto", 0, 1 or 2, as in `evaluate`.

    Returns:
        A `ModuleSet`.

    Raises:
        ValueError: If the model has no graph, no hidden activation or several outputs, `epsilon` is
            no such number or names an unknown activation, `criterion` is unknown, a label is out of
            range, the data has no labels, an activation or an importance is not finite, or the
            model of multi-label data ends in a softmax.

    Examples:
        >>> import keras
        >>> import numpy as np
        >>> import moda_keras as mk
        >>> model = keras.Sequential([
        ...     keras.Input((2,)),
        ...     keras.layers.Dense(3, "relu", kernel_initializer="ones", name="features"),
        ...     keras.layers.Dense(2),
        ... ])
        >>> x, y = np.array([[1.0, 1.0], [-1.0, 0.0]]), np.array([0, 1])
        >>> modules = mk.decompose(model, x, y, verbose=0)
        >>> modules.frequency["features"].tolist()
        [[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]

    Source: MODA (ICSE 2026), section 3.2, equation 9. Of the importance: Molchanov et al.,
    "Importance Estimation for Neural Network Pruning" (CVPR 2019).
    """
    criterion = find_criterion(criterion)
    slicer = Slicer(model)
    model = slicer.model
    classes = model.outputs[0].shape[-1]
    names = check_class_names(class_names, classes)
    check_data(x, len(model.inputs))
    check_shapes(x, y, model.inputs)
    check_batch_size(batch_size)
    check_steps(steps)
    check_sample_weight(sample_weight)
    y = as_class_indices(y, class_names)
    if multi_label:
        _require_independent_outputs(slicer)
        _refuse_importance(criterion)
    if hasattr(y, "shape"):
        (check_multi_hot if multi_label else check_labels)(y, classes)
        _require_samples(len(y))
    _warn_of_several_labels(slicer, criterion, x, y)
    hidden = slicer.hidden_activations
    threshold = check_threshold(threshold, [each.name for each in hidden])
    _warn_of_unseen_layers(slicer)
    if isinstance(epsilon, str):
        epsilon = choose_automatically(slicer.graph, x, epsilon, batch_size=batch_size)
    epsilons = resolve_epsilons(hidden, epsilon)
    observer = _observer(slicer.graph, criterion, classes, epsilons, multi_label=multi_label)
    observer.observe(
        x, y, batch_size=batch_size, sample_weight=sample_weight, steps=steps, verbose=verbose
    )
    counts, samples = observer.metric.tables()
    _require_samples(samples.sum())
    _warn_of_absent_classes(samples, names)
    return ModuleSet.from_counts(
        model,
        counts,
        samples,
        threshold=threshold,
        class_names=names,
        epsilons=epsilons,
        importance=criterion and observer.metric.importance(outgoing_norms(slicer)),
        criterion=criterion.name if criterion else FREQUENCY,
        slicer=slicer,
    )


def _observer(
    traced: Graph,
    criterion: Criterion | None,
    classes: int,
    epsilons: Mapping[str, float],
    *,
    multi_label: bool,
) -> ActivationObserver:
    if criterion is None:
        counts_of = MultiLabelCounts if multi_label else ActivationCounts
        return ActivationObserver(traced, lambda hidden: counts_of(hidden, classes, epsilons))
    return ImportanceObserver(traced, criterion, classes, epsilons)


def _refuse_importance(criterion: Criterion | None) -> None:
    if criterion is not None:
        raise ValueError(
            'Expected criterion="frequency" with `multi_label=True`: importance is that of one '
            f"class for each sample. Received: criterion={criterion.name!r}"
        )


def _require_independent_outputs(slicer: Slicer) -> None:
    step = slicer.output_activation
    name = "linear" if step is None else activation_name(step.operation)
    if name in ("softmax", "logsoftmax"):
        raise ValueError(
            "Expected a model of independent outputs, such as sigmoids, with `multi_label=True`. "
            f"Received: model {slicer.model.name!r}, which ends in {name!r}: one class a sample"
        )


def _warn_of_several_labels(slicer: Slicer, criterion: Criterion | None, x: Any, y: Any) -> None:
    """Says what stands in for the labels that importance needs, where that may be wrong."""
    is_unlabelled = criterion is not None and y is None and is_arrays(x)
    if is_unlabelled and slicer.has_independent_outputs and slicer.model.outputs[0].shape[-1] > 1:
        warnings.warn(
            f"The outputs of model {slicer.model.name!r} are independent of each other (sigmoids). "
            "Each sample without a label counts as of one class, that of the largest output, even "
            "if the model takes it for several or for none. Pass labels of one class a sample as "
            "`y` if that is wrong",
            stacklevel=3,
        )


def _require_samples(samples: int) -> None:
    if not samples:
        raise ValueError("Expected at least one training sample. Received: data with none")


def _warn_of_unseen_layers(slicer: Slicer) -> None:
    traced = slicer.graph
    names = [layer.name for layer in find_unreadable_layers(traced)]
    if names:
        warnings.warn(
            f"The units inside the layers {listed(names)} are not visible in the model's graph: "
            "these layers stay whole in every module. To make units visible, build the layers with "
            "the functional API, or put `moda_keras.layers.ModularActivation` into the graph.",
            stacklevel=3,
        )
    overlooked = describe_overlooked_operations(traced)
    if overlooked:
        warnings.warn(overlooked, stacklevel=3)
    changed = slicer.whole_changed_layers
    if changed:
        warnings.warn(
            f"The layers {listed(changed)} are quantized, or have LoRA enabled, in a way that no "
            "slicing rule knows: they stay whole in every composed model. Quantize a model, or "
            "enable LoRA, after composing it.",
            stacklevel=3,
        )


def _warn_of_absent_classes(samples: np.ndarray, class_names: Sequence[str]) -> None:
    absent = [class_names[index] for index in np.flatnonzero(samples == 0)]
    if absent:
        warnings.warn(
            f"The data has no sample of the classes {listed(absent)}: they have no modules and "
            "cannot be composed.",
            stacklevel=3,
        )
