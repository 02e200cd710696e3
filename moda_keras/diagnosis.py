"""Known signs that modules are not what they could be, each with its figure and its remedy."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Any

import keras
import numpy as np

from moda_keras.epsilons import DEFAULT_EPSILON
from moda_keras.experiments import SubtaskMeasurement, draw_subtasks, why_not_staged
from moda_keras.labelled_arrays import check_labelled_arrays
from moda_keras.losses import MODALoss
from moda_keras.metrics import module_overlap, module_size
from moda_keras.module_set import MINIMUM_FRACTION, ModuleSet
from moda_keras.training_history import OBJECTIVES, read_history
from moda_keras.tuning import sample_subtasks, threshold_curve

# The paper's modules lose one point at most (MODA, ICSE 2026, section 5.2: VGG16 on CIFAR-10, 95.2
# and 94.5 %); five are beyond what seeds do.
MAX_ACCURACY_LOSS = 0.05
# The paper's modules share 1 to 15 % of the weights (MODA, ICSE 2026, table 3).
MAX_OVERLAP = 0.20
# A pair of classes stands out if it shares this many times what pairs share in the mean.
ALIKE = 1.5
# The paper's modules have 2 to 23 % of the model; standard training leaves 24 to 67 % in small
# networks (docs/results.md).
MAX_MODULE_SIZE = 0.5
# The error (one standard deviation) that a frequency near tau may have by chance.
MAX_FREQUENCY_ERROR = 0.05
# The share of an activation's units that the mean module has, if all are active always.
NEARLY_ALL_UNITS = 0.9
# The first epochs, in which the task is yet to be learnt: a tenth of them.
EARLY_SHARE = 0.1
# Thresholds that are tried to find one that helps, and the loss of accuracy allowed then.
TRIED_THRESHOLDS = (0.3, 0.5, 0.6, 0.7, 0.8, 0.85)
GOOD_ACCURACY_LOSS = 0.01
# Sub-tasks that are measured of models that have to be composed for it.
COMPOSED_SUBTASKS = 8
# How many names a message lists.
NAMED = 3


@dataclass(frozen=True)
class Finding:
    """A sign that something is amiss.

    Attributes:
        sign: Which: one of "accuracy", "overlap", "objectives", "size", "samples", "collapse",
            "refill", "epsilon".
        severity: "problem", or "warning" for what may be as it should.
        figures: What was measured, by name, and under "limit" what it was compared with.
        message: One or two sentences that say what is amiss.
        remedy: What to do about it.
    """

    sign: str
    severity: str
    figures: Mapping[str, float]
    message: str
    remedy: str


@dataclass(frozen=True)
class Check:
    """A sign that is looked for.

    Attributes:
        sign: As in `Finding`.
        looks_for: What it is, in words.
        needs: "nothing", "counts" (of `decompose`), "test data" or "history".
        find: Gives the findings.
    """

    sign: str
    looks_for: str
    needs: str
    find: Callable[["Evidence"], Iterator[Finding]]


@dataclass(frozen=True, eq=False)
class Evidence:
    """What signs are looked for in.

    Attributes:
        modules: The modules.
        x, y: Test data, or None.
        subtask_rows: Accuracy of composed models, as `SubtaskMeasurement.measure` gives.
        history: Logs of training by name, or None.
        weights: The objectives' weights, by objective.
    """

    modules: ModuleSet
    x: Any = None
    y: np.ndarray | None = None
    subtask_rows: Sequence[Mapping[str, Any]] = ()
    history: Mapping[str, Sequence[float]] | None = None
    weights: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def overlap(self) -> np.ndarray:
        """Float array (C, C), as `module_overlap`."""
        return module_overlap(self.modules)

    def has(self, needs: str) -> bool:
        """Whether there is what a check needs."""
        return {
            "nothing": True,
            "counts": self.modules.activation_counts is not None,
            "test data": bool(self.subtask_rows),
            "history": self.history is not None,
        }[needs]


def diagnose(
    modules: ModuleSet,
    x_test: Any = None,
    y_test: Any = None,
    *,
    history: Any = None,
    subtask_rows: Sequence[Mapping[str, Any]] | None = None,
    modular_loss: MODALoss | None = None,
    seed: int = 0,
) -> list[Finding]:
    """Looks for the known signs of modules that are not what they could be.

    Signs that need what is not given (test data, history, counts of `decompose`) are not looked
    for; `CHECKS` lists all.

    Args:
        modules: The modules.
        x_test: Test inputs, an array of N samples, or a list or dict of arrays.
        y_test: Labels: integers (N,) or one-hot (N, C).
        history: What `fit` with a `modular_loss` returned, its `history` dict, or the path of a
            file that `keras.callbacks.CSVLogger` wrote.
        subtask_rows: What `moda_keras.experiments.sweep_subtasks` gave, or `read_rows` of its file.
            By default a sample of sub-tasks is measured on the test data.
        modular_loss: The loss of the training, for its weights; by default the one that the model
            is compiled with, else the paper's weights.
        seed: Seed of the sample of sub-tasks.

    Returns:
        List of `Finding`s, problems first; empty if no sign was found.

    Raises:
        ValueError: If test data or history are not what is expected.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> import moda_keras as mk
        >>> model = keras.Sequential([
        ...     keras.Input((2,)),
        ...     keras.layers.Dense(6, activation="relu", name="features"),
        ...     keras.layers.Dense(3),
        ... ])
        >>> units = {"features": np.ones((3, 6), bool)}
        >>> [finding.sign for finding in mk.ModuleSet.from_units(model, units).diagnose()]
        ['overlap', 'size']
    """
    return find_signs(
        gather_evidence(
            modules,
            x_test,
            y_test,
            history=history,
            subtask_rows=subtask_rows,
            modular_loss=modular_loss,
            seed=seed,
        )
    )


def gather_evidence(
    modules: ModuleSet,
    x_test: Any = None,
    y_test: Any = None,
    *,
    history: Any = None,
    subtask_rows: Sequence[Mapping[str, Any]] | None = None,
    modular_loss: MODALoss | None = None,
    seed: int = 0,
) -> Evidence:
    """Checks and measures what signs are looked for in.

    Args:
        modules: As for `diagnose`, and so are the others.
        x_test: Test inputs.
        y_test: Labels.
        history: Logs of training.
        subtask_rows: Measured sub-tasks.
        modular_loss: The loss of the training.
        seed: Seed of the sample of sub-tasks.

    Returns:
        An `Evidence`.

    Raises:
        ValueError: As `diagnose`.
    """
    if (x_test is None) != (y_test is None):
        given, missing = ("x_test", "y_test") if y_test is None else ("y_test", "x_test")
        raise ValueError(
            f"Expected `x_test` and `y_test` together. Received: `{given}` without `{missing}`"
        )
    if x_test is not None:
        x_test, y_test = check_labelled_arrays(x_test, y_test, modules.num_classes)
    if subtask_rows is None:
        subtask_rows = measure_sample(modules, x_test, y_test, seed=seed)
    loss = modular_loss or _compiled_loss(modules.model) or MODALoss()
    return Evidence(
        modules,
        x_test,
        y_test,
        subtask_rows=[_check_row(row, modules) for row in subtask_rows],
        history=None if history is None else read_history(history),
        weights=dict(zip(OBJECTIVES, (loss.alpha, loss.beta, loss.gamma), strict=True)),
    )


def measure_sample(
    modules: ModuleSet, x: Any, y: np.ndarray | None, *, seed: int = 0
) -> list[dict[str, Any]]:
    """Measures a sample of sub-tasks of the classes that have modules and test samples.

    Args:
        modules: The modules.
        x: Test inputs, or None.
        y: Labels, integers (N,).
        seed: Seed of the sample.

    Returns:
        Rows as `SubtaskMeasurement.measure` gives; none without data or without two such classes.
    """
    if x is None:
        return []
    classes = np.intersect1d(modules.classes_with_modules(), y)
    if len(classes) < 2:
        return []
    subtasks = sample_subtasks(classes, seed=seed)
    if why_not_staged(modules):  # then every one is composed
        subtasks = draw_subtasks(subtasks, COMPOSED_SUBTASKS, seed)
    return SubtaskMeasurement(modules, x, y).measure(subtasks)


def _check_row(row: Mapping[str, Any], modules: ModuleSet) -> dict[str, Any]:
    """The row with its classes as a tuple; in a file they are written "0 3 7"."""
    missing = [key for key in ("classes", "accuracy", "full_accuracy") if row.get(key) is None]
    if missing:
        raise ValueError(
            "Expected `subtask_rows` to be rows of `sweep_subtasks`, with classes, accuracy and "
            f"full_accuracy. Received: a row without {missing}: {dict(row)}"
        )
    classes = row["classes"]
    written = isinstance(classes, (str, int))
    found = [int(part) for part in str(classes).split()] if written else classes
    return {**row, "classes": tuple(modules.resolve_classes(found).tolist())}


def find_signs(evidence: Evidence) -> list[Finding]:
    """The findings of all checks for which there is evidence, problems first.

    Args:
        evidence: What to look in.

    Returns:
        List of `Finding`s.
    """
    found = [f for check in CHECKS if evidence.has(check.needs) for f in check.find(evidence)]
    return sorted(found, key=lambda finding: finding.severity != "problem")


def _compiled_loss(model: keras.Model) -> MODALoss | None:
    config = getattr(model, "get_compile_config", dict)() or {}
    loss = config.get("modular_loss")
    return loss and keras.saving.deserialize_keras_object(loss)


# ------------------------------------------------------------------------------------- the signs


def _accuracy(evidence: Evidence) -> Iterator[Finding]:
    rows = evidence.subtask_rows
    reuse, full = (np.mean([row[key] for row in rows]) for key in ("accuracy", "full_accuracy"))
    loss = float(full - reuse)
    if loss <= MAX_ACCURACY_LOSS:
        return
    worst = max(rows, key=lambda row: row["full_accuracy"] - row["accuracy"])
    names = _listed([evidence.modules.class_names[index] for index in worst["classes"]])
    yield Finding(
        "accuracy",
        "problem",
        {
            "reuse_accuracy": float(reuse),
            "full_accuracy": float(full),
            "loss": loss,
            "subtasks": len(rows),
            "limit": MAX_ACCURACY_LOSS,
        },
        f"Composed models lose {_points(loss)} points: {_percent(reuse)} on {len(rows)} sub-tasks, "
        f"where the full model, choosing among the same classes, has {_percent(full)}. The worst "
        f"is {names}: {_percent(worst['accuracy'])} against {_percent(worst['full_accuracy'])}.",
        _remedy_of_loss(evidence),
    )


def _remedy_of_loss(evidence: Evidence) -> str:
    modules = evidence.modules
    retrain = "or train with a smaller `gamma`: compactness silences units that classes need"
    if evidence.x is None or not evidence.has("counts"):
        return (
            "Lower tau, as `modules.tune_threshold(x_val, y_val)` does if the modules are from "
            f"`decompose`; {retrain}."
        )
    highest = max(_thresholds(modules).values())
    tried = [t for t in TRIED_THRESHOLDS if t < highest]
    subtasks = [row["classes"] for row in evidence.subtask_rows if len(row["classes"]) > 1]
    curve = threshold_curve(modules, evidence.x, evidence.y, tried, subtasks=subtasks)
    for row in reversed(curve):
        loss = row["full_accuracy"] - row["reuse_accuracy"]
        if loss <= GOOD_ACCURACY_LOSS:
            return (
                f"Lower tau: `modules.with_threshold({row['threshold']:g})` loses "
                f"{_points(max(loss, 0))} points, with modules of "
                f"{_percent(row['module_size'])} of the model. "
                "`modules.tune_threshold(x_val, y_val)` finds the best on validation data."
            )
    return (
        "A lower tau is not enough: none of "
        f"{', '.join(f'{t:g}' for t in tried)} comes within "
        f"{_points(GOOD_ACCURACY_LOSS)} point. Train with a smaller `gamma`: compactness silences "
        "units that classes need."
        if tried
        else f"Train with a smaller `gamma`; tau is as low as {highest:g} already."
    )


def _overlap(evidence: Evidence) -> Iterator[Finding]:
    overlap, names = evidence.overlap, evidence.modules.class_names
    pairs = [
        (float(overlap[a, b]), f"{names[a]} and {names[b]}")
        for a, b in combinations(range(len(names)), 2)
        if np.isfinite(overlap[a, b])
    ]
    mean = float(np.mean([share for share, _ in pairs])) if pairs else 0.0
    if mean <= MAX_OVERLAP:
        return
    top = sorted(pairs, key=lambda pair: -pair[0])[:NAMED]
    are_few = top[0][0] > ALIKE * mean
    yield Finding(
        "overlap",
        "warning",
        {"overlap": mean, "highest": top[0][0], "limit": MAX_OVERLAP},
        f"Two modules share {_percent(mean)} of the model's weights in the mean; most: "
        f"{_listed([f'{pair} {_percent(share)}' for share, pair in top])}. "
        + (
            "These stand out: the classes are alike."
            if are_few
            else "No pair stands out: dispersion is too weak, or training too short."
        ),
        (
            "Expect these classes to share much, or give the model more units to tell them apart. "
            if are_few
            else "Train longer, or with a larger `beta`. "
        )
        + "A higher tau makes modules smaller, and what they share.",
    )


def _objectives(evidence: Evidence) -> Iterator[Finding]:
    history, weights = evidence.history, evidence.weights
    parts = np.array([np.asarray(history[name]) * weights[name] for name in OBJECTIVES])
    modular = parts.sum(axis=0)
    task = np.asarray(history.get("task_loss", np.asarray(history["loss"]) - modular))
    early = slice(max(1, round(EARLY_SHARE * len(task))))
    modular_mean, task_mean = float(modular[early].mean()), float(task[early].mean())
    if not modular_mean > task_mean:
        return
    largest = OBJECTIVES[int(parts[:, early].mean(axis=1).argmax())]
    symbol = dict(zip(OBJECTIVES, ("alpha", "beta", "gamma"), strict=True))[largest]
    yield Finding(
        "objectives",
        "warning",
        {
            "objectives": modular_mean,
            "task_loss": task_mean,
            "epochs": len(task[early]),
            "limit": task_mean,
        },
        f"In the first {_counted(len(task[early]), 'epoch')} the weighted objectives "
        f"({modular_mean:.2f}) are above the task loss ({task_mean:.2f}), which is yet to be "
        f"learnt; most of it is {largest}.",
        f"Train with a smaller `{symbol}` than {weights[largest]:g}: the paper's weights are 1.0, "
        "1.0 and 0.3, for compactness per unit (`compactness='unit'`).",
    )


def _size(evidence: Evidence) -> Iterator[Finding]:
    sizes = module_size(evidence.modules)
    mean = float(np.nanmean(sizes))
    if mean <= MAX_MODULE_SIZE:
        return
    largest = int(np.nanargmax(sizes))
    yield Finding(
        "size",
        "warning",
        {"module_size": mean, "largest": float(sizes[largest]), "limit": MAX_MODULE_SIZE},
        f"A module has {_percent(mean)} of the model's parameters in the mean; the largest, "
        f"{evidence.modules.class_names[largest]}, {_percent(sizes[largest])}.",
        "Train with `modular_loss`, and longer: modules go on shrinking long after accuracy has "
        "settled (60 epochs or more on a small data set). A wider network has smaller modules.",
    )


def needed_samples(threshold: float) -> int:
    """How many samples of a class the frequency of its units can be told from.

    Near tau a frequency of n samples is off by sqrt(tau (1 - tau) / n), one standard deviation, and
    it changes in steps of 1 / n, of which there must be one between tau and 1.

    Args:
        threshold: Tau, in [0, 1].

    Returns:
        Int: 36 for 0.9, 64 for 0.8, 100 for 0.5.
    """
    by_chance = threshold * (1 - threshold) / MAX_FREQUENCY_ERROR**2
    step = 1 / (1 - threshold) if threshold < 1 else 1
    return math.ceil(round(max(by_chance, step, 1), 6))


def _samples(evidence: Evidence) -> Iterator[Finding]:
    modules = evidence.modules
    counts = modules.sample_counts
    tau = max(_thresholds(modules).values(), key=needed_samples)
    if not counts.all():
        missing = [modules.class_names[index] for index in np.flatnonzero(counts == 0)]
        yield Finding(
            "samples",
            "problem",
            {"classes": len(missing), "samples": 0, "limit": 1},
            f"{_listed(missing)} had no training sample: there is no module.",
            "Decompose with samples of every class; the model need not be trained again.",
        )
    limit = needed_samples(tau)
    few = np.flatnonzero((counts > 0) & (counts < limit))
    if not len(few):
        return
    few = few[np.argsort(counts[few], kind="stable")]
    least = int(counts[few[0]])
    listed = _listed([f"{modules.class_names[index]} ({counts[index]})" for index in few])
    error = math.sqrt(tau * (1 - tau) / least)
    yield Finding(
        "samples",
        "warning",
        {"classes": len(few), "samples": least, "error": error, "limit": limit},
        f"Few training samples: {listed}. Of {least} a frequency is known in steps of "
        f"{_percent(1 / least)}, and near tau = {tau:g} is off by {_points(error)} points by "
        "chance (one standard deviation): which units are in the module is partly chance.",
        f"Decompose with {limit} samples of each class or more; augmented or unseen ones serve.",
    )


def _refilled(modules: ModuleSet) -> dict[str, np.ndarray]:
    """By activation, the classes with too few units that reach tau, which are given others."""
    present = modules.classes_with_modules()
    thresholds = _thresholds(modules)
    found = {}
    for name, frequency in modules.frequency.items():
        reached = (frequency[present] >= thresholds[name]).sum(axis=1)
        minimum = max(1, int(MINIMUM_FRACTION * frequency.shape[1]))
        found[name] = present[reached < minimum]
    return found


def _collapse(evidence: Evidence) -> Iterator[Finding]:
    modules = evidence.modules
    everyone = len(modules.classes_with_modules())
    names = [name for name, classes in _refilled(modules).items() if len(classes) == everyone]
    if not names:
        return
    highest = max(float(modules.frequency[name].max()) for name in names)
    silent = float(np.mean([(modules.frequency[name] == 0).all(axis=0).mean() for name in names]))
    yield Finding(
        "collapse",
        "problem",
        {"activations": len(names), "silent": silent, "highest_frequency": highest, "limit": 0},
        f"In {_listed(names)} no class has units that reach tau; the most frequent is active for "
        f"{_percent(highest)} of a class, and {_percent(silent)} never are.",
        "If accuracy is near chance, training collapsed: lower `gamma`, and use "
        "`MODALoss(compactness='unit')`, the default; equation 6 as printed ('norm') silences all "
        "units. Else lower tau.",
    )


def _refill(evidence: Evidence) -> Iterator[Finding]:
    modules = evidence.modules
    everyone = len(modules.classes_with_modules())
    refilled = {
        name: classes for name, classes in _refilled(modules).items() if 0 < len(classes) < everyone
    }
    if not refilled:
        return
    modules_hit = sorted({int(index) for classes in refilled.values() for index in classes})
    names = [modules.class_names[index] for index in modules_hit]
    yield Finding(
        "refill",
        "warning",
        {
            "activations": len(refilled),
            "classes": len(names),
            "modules": sum(map(len, refilled.values())),
            "limit": 0,
        },
        f"Too few units reach tau for {_listed(names)} in {_listed(list(refilled))}: there the "
        "module has the most frequent units instead, as many as the largest module has.",
        "Lower tau (`modules.with_threshold`, `modules.tune_threshold`) or `gamma`.",
    )


def _epsilon(evidence: Evidence) -> Iterator[Finding]:
    modules = evidence.modules
    epsilons, present = modules.epsilons or {}, modules.classes_with_modules()
    shares = {
        hidden.name: float(modules.units[hidden.name][present].mean())
        for hidden in modules.hidden_activations
        if not hidden.exact_zero and epsilons.get(hidden.name) == DEFAULT_EPSILON
    }
    crowded = {name: share for name, share in shares.items() if share >= NEARLY_ALL_UNITS}
    if not crowded:
        return
    yield Finding(
        "epsilon",
        "warning",
        {
            "activations": len(crowded),
            "share": float(np.mean(list(crowded.values()))),
            "epsilon": DEFAULT_EPSILON,
            "limit": NEARLY_ALL_UNITS,
        },
        f"{_listed(list(crowded))} is never exactly zero, and with the default epsilon of "
        f"{DEFAULT_EPSILON:g} modules have {_percent(np.mean(list(crowded.values())))} of its "
        "units.",
        "Choose epsilons from data: `epsilons = mk.choose_epsilons(model, x_train)`, then "
        "`mk.decompose(model, x_train, y_train, epsilon=epsilons)`.",
    )


CHECKS: tuple[Check, ...] = (
    Check(
        "accuracy",
        "composed models more than 5 points under the full model on the same classes",
        "test data",
        _accuracy,
    ),
    Check("collapse", "activations in which no unit reaches tau", "counts", _collapse),
    Check("samples", "classes with too few training samples for tau", "counts", _samples),
    Check("overlap", "modules that share more than 20 % of the weights", "nothing", _overlap),
    Check("size", "modules of more than half of the model", "nothing", _size),
    Check("refill", "modules filled up because too few units reach tau", "counts", _refill),
    Check("epsilon", "the default epsilon where activations are never zero", "nothing", _epsilon),
    Check("objectives", "objectives above the task loss at the start", "history", _objectives),
)


# ------------------------------------------------------------------------------------- wording


def _thresholds(modules: ModuleSet) -> dict[str, float]:
    tau = modules.threshold
    return dict(tau) if isinstance(tau, Mapping) else dict.fromkeys(modules.units, tau)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMED])
    return shown if len(names) <= NAMED else f"{shown} and {len(names) - NAMED} more"


def _counted(number: int, noun: str) -> str:
    return noun if number == 1 else f"{number} {noun}s"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _points(share: float) -> str:
    return f"{100 * share:.1f}"
