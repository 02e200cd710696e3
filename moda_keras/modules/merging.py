"""Merges the modules that were counted on parts of the data."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from moda_keras.modules.module_set import ModuleSet

_ADVICE = {
    "threshold": ". Use `modules.with_threshold(...)` on one of them",
    "class_names": ". Give `decompose` the same `class_names` for every part",
    "criterion": ". Give `decompose` the same `criterion` for every part",
    "epsilons": "",
}
# Criteria whose importance is a mean over samples.
_MEANS = ("frequency", "importance")


def merge(modules: ModuleSet | Iterable[ModuleSet], *others: ModuleSet) -> ModuleSet:
    """The modules of all data together, of those that `decompose` found on parts of it.

    Counts of samples add up, and an importance is a mean over samples, so the result is that of one
    pass over all data. Machines that count parts need the same model, the same `epsilon` and
    nothing else in common: `decompose` on each, `save`, then load and merge.

    Args:
        modules: A `ModuleSet`, or several.
        *others: More of them.

    Returns:
        A new `ModuleSet`, with model, class names and threshold of the first.

    Raises:
        TypeError: If one is no `ModuleSet`.
        ValueError: If there is none; if models, class names, thresholds, epsilons or criteria
            differ; if one has no counts, or units that were not chosen by a threshold; or if the
            criterion's importance is no mean over samples.

    Examples:
        >>> import keras
        >>> import numpy as np
        >>> import moda_keras as mk
        >>> model = keras.Sequential([
        ...     keras.Input((2,)), keras.layers.Dense(3, activation="relu"), keras.layers.Dense(2)
        ... ])
        >>> x, y = np.random.default_rng(0).normal(size=(40, 2)), np.arange(40) % 2
        >>> parts = [mk.decompose(model, x[i::3], y[i::3], verbose=0) for i in range(3)]
        >>> merged = mk.ModuleSet.merge(parts)
        >>> merged.sample_counts.tolist()
        [20, 20]
    """
    first, *rest = parts = _as_list(modules, others)
    for each in parts:
        _require_mergeable(each)
    for each in rest:
        _require_equal(first, each)
    names = list(first.activation_counts)
    counts = {name: sum(each.activation_counts[name] for each in parts) for name in names}
    return ModuleSet.from_counts(
        first.model,
        counts,
        sum(each.sample_counts for each in parts),
        threshold=first.threshold,
        class_names=first.class_names,
        epsilons=first.epsilons,
        importance=_merged_importance(parts),
        criterion=first.criterion,
        slicer=first.slicer if first.model is not None else None,
    )


def _as_list(modules: Any, others: tuple) -> list[ModuleSet]:
    parts = [modules, *others] if isinstance(modules, ModuleSet) else [*modules, *others]
    for each in parts:
        if not isinstance(each, ModuleSet):
            raise TypeError(
                "Expected `ModuleSet.merge([...])` or `modules.merge(other, ...)`, of module sets. "
                f"Received: {type(each).__name__}"
            )
    if len({id(each) for each in parts}) < len(parts):
        raise ValueError(
            "Expected each `ModuleSet` once: the samples of one that is given twice would count "
            f"twice. Received: {len(parts)} module sets, some of them the same"
        )
    if not parts:
        raise ValueError("Expected at least one `ModuleSet` to merge. Received: none")
    return parts


def _merged_importance(parts: list[ModuleSet]) -> dict[str, np.ndarray] | None:
    if parts[0].importance is None:
        return None
    samples = np.maximum(sum(each.sample_counts for each in parts), 1)[:, np.newaxis]
    return {
        name: sum(e.importance[name] * e.sample_counts[:, np.newaxis] for e in parts) / samples
        for name in parts[0].importance
    }


def _require_mergeable(modules: ModuleSet) -> None:
    modules.require_counts("merge")
    if modules.threshold is None or modules.subtask is not None:
        raise ValueError(
            "Expected modules whose units follow from counts and a threshold, as `decompose` and "
            "`with_threshold` give them. Received: modules of chosen units, as of `within`. Merge "
            "first, and choose the units then"
        )
    if modules.criterion not in _MEANS:
        raise ValueError(
            f"Expected modules of the criterion {' or '.join(map(repr, _MEANS))}, whose values of "
            "parts of the data can be averaged. Received: modules of the criterion "
            f"{modules.criterion!r}. Run `decompose` once on all data"
        )


def _require_equal(first: ModuleSet, other: ModuleSet) -> None:
    for what in ("class_names", "threshold", "criterion", "epsilons"):
        expected, received = getattr(first, what), getattr(other, what)
        if expected != received:
            advice = ""
            if what == "epsilons":
                advice = '. "auto" looks at the data: give `decompose` the epsilons of the first'
            raise ValueError(
                f"Expected modules with equal `{what}` to merge. Received: {expected} and "
                f"{received}{advice or _ADVICE[what]}"
            )
    difference = _difference_of_models(first.model, other.model)
    if difference:
        raise ValueError(
            "Expected modules of one model to merge, or of copies of it. Received: models "
            f"{difference}. Save the model once, and decompose that file for every part"
        )


def _difference_of_models(first: keras.Model, other: keras.Model) -> str | None:
    if first is other or first is None or other is None:
        return None
    one, two = (_inference_weights(model) for model in (first, other))
    names = [[weight.path.split("/")[-1] for weight in weights] for weights in (one, two)]
    shapes = [[tuple(weight.shape) for weight in weights] for weights in (one, two)]
    if names[0] != names[1] or shapes[0] != shapes[1]:
        return "with different weights: names or shapes differ"
    for weight, others in zip(one, two, strict=True):
        if not np.array_equal(*map(keras.ops.convert_to_numpy, (weight, others)), equal_nan=True):
            return f"in which the weight {weight.path!r} has other values"
    return None


def _inference_weights(model: keras.Model) -> list[keras.Variable]:
    return [weight for weight in model.weights if "seed_generator" not in weight.path]
