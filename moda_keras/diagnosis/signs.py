"""The signs: one function for each, registered in `CHECKS`."""

import math
from collections.abc import Callable, Iterator
from itertools import combinations

import numpy as np

from moda_keras import graph
from moda_keras.diagnosis.evidence import Evidence
from moda_keras.diagnosis.finding import Check, Finding
from moda_keras.evaluation import module_size
from moda_keras.evaluation.wording import NAMED, listed, percent, points
from moda_keras.modules.selection import is_refilled
from moda_keras.observing.epsilons import DEFAULT_EPSILON

# The paper's modules lose one point at most (MODA, ICSE 2026, section 5.2: VGG16 on CIFAR-10, 95.2
# and 94.5 %); five are more than the differences between seeds.
MAX_ACCURACY_LOSS = 0.05
# A lower tau is recommended if it loses no more than this.
GOOD_ACCURACY_LOSS = 0.01
# The error (one standard deviation) that a frequency near tau may have by chance.
MAX_FREQUENCY_ERROR = 0.05
# The paper's modules share 1 to 15 % of the weights (MODA, ICSE 2026, table 3).
MAX_OVERLAP = 0.20
# A pair of classes is similar if it shares this many times as much as pairs do on average.
SIMILAR = 1.5
# The paper's modules have 2 to 23 % of the model; standard training leaves 24 to 67 % in small
# networks (docs/results.md).
MAX_MODULE_SIZE = 0.5
# The share of an activation's units that a module has on average if all are always active.
NEARLY_ALL_UNITS = 0.9
# A task is not learned if the loss at the end is above this share of the cross-entropy of guessing.
NOT_LEARNED = 0.75
# Objectives below this share of the task loss are too weak to keep a model from learning.
WEAK_OBJECTIVES = 0.1
# The first and the last epochs that are compared: a tenth of them.
TENTH = 0.1

_checks: list[Check] = []


def _sign(name: str, looks_for: str, needs: str = "nothing") -> Callable:
    """Registers a function that yields the findings of a sign."""

    def register(find: Callable[[Evidence], Iterator[Finding]]) -> Callable:
        _checks.append(Check(name, looks_for, needs, find))
        return find

    return register


# ------------------------------------------------------------------------------------- accuracy


@_sign(
    "accuracy",
    "composed models more than 5 points below the full model on the same classes",
    needs="test data",
)
def find_accuracy_loss(evidence: Evidence) -> Iterator[Finding]:
    """Composed models that lose accuracy: tau or the weight of compactness is too high."""
    rows = evidence.subtask_rows
    reuse, full = (
        float(np.mean([row[key] for row in rows])) for key in ("accuracy", "full_accuracy")
    )
    loss = full - reuse
    if loss <= MAX_ACCURACY_LOSS:
        return
    worst = max(rows, key=lambda row: row["full_accuracy"] - row["accuracy"])
    names = listed([evidence.modules.class_names[index] for index in worst["classes"]])
    yield Finding(
        "accuracy",
        "problem",
        {
            "reuse_accuracy": reuse,
            "full_accuracy": full,
            "loss": loss,
            "subtasks": len(rows),
            "limit": MAX_ACCURACY_LOSS,
        },
        f"Composed models lose {points(loss)} points: {percent(reuse)} on {len(rows)} sub-tasks, "
        f"against {percent(full)} of the full model choosing among the same classes. The worst is "
        f"{names}: {percent(worst['accuracy'])} against {percent(worst['full_accuracy'])}.",
        _remedy_of_loss(evidence),
    )


def _remedy_of_loss(evidence: Evidence) -> str:
    if evidence.modules.importance is not None:
        return (
            "These are modules by importance, composed without repair here. Refit the weights on "
            "samples of the classes: `modules.compose(classes, calibration_data=x)`, and measure "
            "that model: `metrics.reuse_accuracy(..., composed=small)`. If that is not enough, "
            "choose a larger budget with `modules.within`."
        )
    retrain = "rain with a smaller `gamma`: compactness silences units that classes need."
    rows = evidence.lower_thresholds
    if rows is None:
        return (
            "Lower tau, with `modules.tune_threshold(x_val, y_val)` if the modules are from "
            f"`decompose`, or t{retrain}"
        )
    if not rows:
        return f"T{retrain} Tau is {max(evidence.thresholds.values()):g}, which is low already."
    for row in reversed(rows):
        loss = row["full_accuracy"] - row["reuse_accuracy"]
        if loss <= GOOD_ACCURACY_LOSS:
            return (
                f"Lower tau: `modules.with_threshold({row['threshold']:g})` loses "
                f"{points(max(loss, 0))} points, with modules of {percent(row['module_size'])} of "
                "the model. `modules.tune_threshold(x_val, y_val)` finds the best on validation "
                "data."
            )
    tried = ", ".join(f"{row['threshold']:g}" for row in rows)
    return (
        f"A lower tau is not enough: {tried} all lose more than {points(GOOD_ACCURACY_LOSS)} "
        f"point. T{retrain}"
    )


# ------------------------------------------------------------------------------------- frequency


@_sign("collapse", "activations in which no unit reaches tau", needs="counts")
def find_collapse(evidence: Evidence) -> Iterator[Finding]:
    """Activations in which no class has units that reach tau."""
    modules = evidence.modules
    everyone = len(modules.classes_with_modules())
    names = [name for name, classes in _refilled(evidence).items() if len(classes) == everyone]
    if not names:
        return
    highest = max(float(modules.frequency[name].max()) for name in names)
    silent = float(np.mean([(modules.frequency[name] == 0).all(axis=0).mean() for name in names]))
    yield Finding(
        "collapse",
        "problem",
        {"activations": len(names), "silent": silent, "highest_frequency": highest, "limit": 0},
        f"In {listed(names)} no class has units that reach tau: the most frequent unit is active "
        f"for {percent(highest)} of a class's samples, and {percent(silent)} of the units never "
        "are.",
        "If accuracy is near chance, training collapsed: lower `gamma`, and use "
        "`MODALoss(compactness='unit')`, the default. (Equation 6 as printed, 'norm', silences all "
        "units.) Otherwise lower tau.",
    )


def needed_samples(threshold: float) -> int:
    """The number of samples of a class from which a unit's frequency can be told near tau.

    The frequency of n samples is off by sqrt(tau (1 - tau) / n) near tau, one standard deviation.
    It changes in steps of 1 / n, and one step must fit between tau and 1.

    Args:
        threshold: Tau, in [0, 1].

    Returns:
        Int: 36 for 0.9, 64 for 0.8, 100 for 0.5.
    """
    by_chance = threshold * (1 - threshold) / MAX_FREQUENCY_ERROR**2
    step = 1 / (1 - threshold) if threshold < 1 else 1
    return math.ceil(round(max(by_chance, step, 1), 6))


@_sign("samples", "classes with too few training samples for tau", needs="counts")
def find_few_samples(evidence: Evidence) -> Iterator[Finding]:
    """Classes with too few training samples for tau, or none."""
    counts, names = evidence.modules.sample_counts, evidence.modules.class_names
    if not counts.all():
        missing = [names[index] for index in np.flatnonzero(counts == 0)]
        yield Finding(
            "samples",
            "problem",
            {"classes": len(missing), "samples": 0, "limit": 1},
            f"There is no training sample of {listed(missing)}, and so no module.",
            "Decompose with samples of every class. There is no need to train the model again.",
        )
    tau = max(evidence.thresholds.values(), key=needed_samples)
    limit = needed_samples(tau)
    few = np.flatnonzero((counts > 0) & (counts < limit))
    if not len(few):
        return
    few = few[np.argsort(counts[few], kind="stable")]
    least = int(counts[few[0]])
    error = math.sqrt(tau * (1 - tau) / least)
    yield Finding(
        "samples",
        "warning",
        {"classes": len(few), "samples": least, "error": error, "limit": limit},
        f"Few training samples: {listed([f'{names[index]} ({counts[index]})' for index in few])}. "
        f"With {least}, a frequency is known in steps of {percent(1 / least)} and is off by "
        f"{points(error)} points by chance near tau = {tau:g} (one standard deviation). Which "
        "units are in the module is partly chance.",
        f"Decompose with at least {limit} samples of each class; augmented or unseen samples will "
        "do.",
    )


# ------------------------------------------------------------------------------- size and overlap


@_sign("overlap", "modules that share more than 20 % of the weights")
def find_overlap(evidence: Evidence) -> Iterator[Finding]:
    """Modules that share many weights: weak dispersion, or classes that are similar."""
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
    if top[0][0] > SIMILAR * mean:
        cause = "These stand out: the classes are similar."
        remedy = "Expect similar classes to share weights, or give the model more units."
    else:
        cause = "No pair stands out: dispersion is too weak, or training too short."
        remedy = "Train longer, or with a larger `beta`."
    yield Finding(
        "overlap",
        "warning",
        {"overlap": mean, "highest": top[0][0], "limit": MAX_OVERLAP},
        f"Two modules share {percent(mean)} of the model's weights on average; the most: "
        f"{listed([f'{pair} {percent(share)}' for share, pair in top])}. {cause}",
        f"{remedy} A higher tau makes modules smaller and reduces what they share.",
    )


@_sign("size", "modules of more than half of the model")
def find_large_modules(evidence: Evidence) -> Iterator[Finding]:
    """Modules of more than half of the model: training was too short, or not modular."""
    sizes = module_size(evidence.modules)
    mean = float(np.nanmean(sizes))
    if mean <= MAX_MODULE_SIZE:
        return
    largest = int(np.nanargmax(sizes))
    yield Finding(
        "size",
        "warning",
        {"module_size": mean, "largest": float(sizes[largest]), "limit": MAX_MODULE_SIZE},
        f"A module has {percent(mean)} of the model's parameters on average; the largest, "
        f"{evidence.modules.class_names[largest]}, has {percent(sizes[largest])}.",
        "Train with `modular_loss`, and longer: modules keep shrinking long after accuracy has "
        "settled (60 epochs or more on a small data set). A wider network has smaller modules.",
    )


@_sign("refill", "modules refilled because too few units reach tau", needs="counts")
def find_refilled_modules(evidence: Evidence) -> Iterator[Finding]:
    """Modules of some classes that are refilled because too few units reach tau."""
    modules = evidence.modules
    everyone = len(modules.classes_with_modules())
    refilled = {
        name: classes
        for name, classes in _refilled(evidence).items()
        if 0 < len(classes) < everyone
    }
    if not refilled:
        return
    indices = sorted({int(index) for classes in refilled.values() for index in classes})
    names = [modules.class_names[index] for index in indices]
    yield Finding(
        "refill",
        "warning",
        {
            "activations": len(refilled),
            "classes": len(names),
            "modules": sum(map(len, refilled.values())),
            "limit": 0,
        },
        f"Too few units reach tau for {listed(names)} in {listed(list(refilled))}. The module has "
        "the most frequent units there instead, as many as the largest module has.",
        "Lower tau (`modules.with_threshold`, `modules.tune_threshold`), or train with a smaller "
        "`gamma`.",
    )


def _refilled(evidence: Evidence) -> dict[str, np.ndarray]:
    """By activation, the classes of which too few units reach tau."""
    present = evidence.modules.classes_with_modules()
    return {
        name: present[is_refilled(frequency[present], evidence.thresholds[name])]
        for name, frequency in evidence.modules.frequency.items()
    }


@_sign("epsilon", "an epsilon not chosen from data where activations are never zero")
def find_small_epsilon(evidence: Evidence) -> Iterator[Finding]:
    """A fixed epsilon where activations are never zero and modules have nearly all units."""
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
    mean = float(np.mean(list(crowded.values())))
    yield Finding(
        "epsilon",
        "warning",
        {
            "activations": len(crowded),
            "share": mean,
            "epsilon": DEFAULT_EPSILON,
            "limit": NEARLY_ALL_UNITS,
        },
        f"The activations {listed(list(crowded))} are never exactly zero. With an epsilon of "
        f"{DEFAULT_EPSILON:g}, modules have {percent(mean)} of their units.",
        'Choose epsilons from data: `mk.decompose(model, x_train, y_train, epsilon="auto")`, or '
        "`epsilon=mk.choose_epsilons(model, x_train)` if the data is a dataset.",
    )


# --------------------------------------------------------------------------------------- the model


@_sign("unseen", "parts of the model whose units are in every module, for they cannot be observed")
def find_unseen_units(evidence: Evidence) -> Iterator[Finding]:
    """Layers and operations at which no units are observed, or that cannot be sliced."""
    traced = evidence.modules.slicer.graph
    layers = [layer.name for layer in graph.find_unreadable_layers(traced)]
    operations = graph.find_overlooked_operations(traced)
    changed = evidence.modules.slicer.whole_changed_layers
    sentences = {
        "The units inside {} are not visible in the model's graph.": layers,
        "No units are observed at {}, non-linear operations that are no known activations.": (
            operations
        ),
        "Quantized, or with LoRA enabled, and whole: {}.": changed,
    }
    if not any(sentences.values()):
        return
    yield Finding(
        "unseen",
        "warning",
        {
            "layers": len(layers),
            "operations": len(operations),
            "changed_layers": len(changed),
            "limit": 0,
        },
        " ".join(words.format(listed(names)) for words, names in sentences.items() if names),
        "Build these parts with the functional API and Keras's activations, or mark all hidden "
        "activations with `moda_keras.layers.ModularActivation`. Quantize a model, or enable LoRA, "
        "after composing it.",
    )


# -------------------------------------------------------------------------------------- training


@_sign("objectives", "a task that is not learned under the modular objectives", needs="history")
def find_unlearned_task(evidence: Evidence) -> Iterator[Finding]:
    """A task loss near that of guessing at the end of a training with strong objectives."""
    history, weights = evidence.history, evidence.loss.weights
    parts = {name: np.asarray(history[name]) * weight for name, weight in weights.items()}
    modular = np.sum(list(parts.values()), axis=0)
    task = np.asarray(history.get("task_loss", np.asarray(history["loss"]) - modular))
    epochs = max(1, round(TENTH * len(task)))
    end, early = float(np.mean(task[-epochs:])), float(np.mean(modular[:epochs]))
    guessing = math.log(evidence.modules.num_classes)
    if not (end > NOT_LEARNED * guessing and early > WEAK_OBJECTIVES * np.mean(task[:epochs])):
        return
    largest = max(parts, key=lambda name: np.mean(parts[name][:epochs]))
    yield Finding(
        "objectives",
        "problem",
        {
            "task_loss": end,
            "guessing": guessing,
            "objectives": early,
            "epochs": len(task),
            "limit": NOT_LEARNED * guessing,
        },
        f"The task is not learned: the task loss ends at {end:.2f}, and guessing gives "
        f"{guessing:.2f} (cross-entropy). The weighted objectives began at {early:.2f}, of which "
        f"{largest} is the largest part.",
        "Train once without `modular_loss`. If that learns the task, lower the weights of the "
        f"objectives, first that of {largest} (now {weights[largest]:g}). If not, change the "
        "learning rate or the model.",
    )


CHECKS: tuple[Check, ...] = tuple(_checks)
