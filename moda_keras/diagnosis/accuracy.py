"""The sign of tau or gamma too high: composed models lose accuracy."""

from collections.abc import Iterator

import numpy as np

from moda_keras.diagnosis.evidence import COMPOSED_SUBTASKS, Evidence, thresholds_of
from moda_keras.diagnosis.finding import Finding
from moda_keras.diagnosis.wording import listed, percent, points
from moda_keras.evaluation import draw_subtasks, why_not_staged
from moda_keras.evaluation.subtasks import Subtask
from moda_keras.tuning import threshold_curve

# The paper's modules lose one point at most (MODA, ICSE 2026, section 5.2: VGG16 on CIFAR-10, 95.2
# and 94.5 %); five are beyond what seeds do.
MAX_ACCURACY_LOSS = 0.05
# Thresholds that are tried to find one that helps, and the loss of accuracy allowed then.
TRIED_THRESHOLDS = (0.3, 0.5, 0.6, 0.7, 0.8, 0.85)
GOOD_ACCURACY_LOSS = 0.01
# No more sub-tasks are measured again at each of them: the rows may be of thousands.
MAX_TRIED_SUBTASKS = 40


def find_accuracy_loss(evidence: Evidence) -> Iterator[Finding]:
    """Composed models more than five points under the full model on the same classes."""
    rows = evidence.subtask_rows
    reuse, full = (np.mean([row[key] for row in rows]) for key in ("accuracy", "full_accuracy"))
    loss = float(full - reuse)
    if loss <= MAX_ACCURACY_LOSS:
        return
    worst = max(rows, key=lambda row: row["full_accuracy"] - row["accuracy"])
    names = listed([evidence.modules.class_names[index] for index in worst["classes"]])
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
        f"Composed models lose {points(loss)} points: {percent(reuse)} on {len(rows)} sub-tasks, "
        f"where the full model, choosing among the same classes, has {percent(full)}. The worst "
        f"is {names}: {percent(worst['accuracy'])} against {percent(worst['full_accuracy'])}.",
        _remedy_of_loss(evidence),
    )


def _remedy_of_loss(evidence: Evidence) -> str:
    modules = evidence.modules
    retrain = "or train with a smaller `gamma`: compactness silences units that classes need"
    subtasks = _tried_subtasks(evidence)
    if not subtasks or not evidence.has("counts"):
        return (
            "Lower tau, as `modules.tune_threshold(x_val, y_val)` does if the modules are from "
            f"`decompose`; {retrain}."
        )
    highest = max(thresholds_of(modules).values())
    tried = [t for t in TRIED_THRESHOLDS if t < highest]
    curve = threshold_curve(modules, evidence.x, evidence.y, tried, subtasks=subtasks)
    for row in reversed(curve):
        loss = row["full_accuracy"] - row["reuse_accuracy"]
        if loss <= GOOD_ACCURACY_LOSS:
            return (
                f"Lower tau: `modules.with_threshold({row['threshold']:g})` loses "
                f"{points(max(loss, 0))} points, with modules of "
                f"{percent(row['module_size'])} of the model. "
                "`modules.tune_threshold(x_val, y_val)` finds the best on validation data."
            )
    return (
        "A lower tau is not enough: none of "
        f"{', '.join(f'{t:g}' for t in tried)} comes within "
        f"{points(GOOD_ACCURACY_LOSS)} point. Train with a smaller `gamma`: compactness silences "
        "units that classes need."
        if tried
        else f"Train with a smaller `gamma`; tau is as low as {highest:g} already."
    )


def _tried_subtasks(evidence: Evidence) -> list[Subtask]:
    """A sample of the sub-tasks of which every class has test samples."""
    if evidence.x is None:
        return []
    present = set(evidence.y.tolist())
    subtasks = [row["classes"] for row in evidence.subtask_rows]
    measurable = [each for each in subtasks if len(each) > 1 and present.issuperset(each)]
    has_to_compose = why_not_staged(evidence.modules)
    return draw_subtasks(measurable, COMPOSED_SUBTASKS if has_to_compose else MAX_TRIED_SUBTASKS)
