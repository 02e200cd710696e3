"""Figure 3: composed models against the number of their classes."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from moda_keras.evaluation.staged_model import why_not_staged
from moda_keras.evaluation.subtasks import draw_subtasks
from moda_keras.evaluation.verification import verify
from moda_keras.experiments.config import ExperimentConfig
from moda_keras.experiments.experiment import Experiment, Row, Workspace, trainings
from moda_keras.modules.module_set import ModuleSet

FIGURES = (
    "subtasks", "reuse_accuracy", "full_accuracy", "size", "flops", "verified", "accuracy_error",
    "logit_error",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ReuseConfig(ExperimentConfig):
    """As `ExperimentConfig`.

    Attributes:
        verified: How many sub-tasks of each size to compose, to verify the masked evaluation.
    """

    networks: tuple[str, ...] = ("vgg16",)
    verified: int = 2


def _cells(workspace: Workspace) -> Iterator[Row]:
    for cell in trainings(workspace):
        for k in range(2, len(workspace.data.class_names) + 1):
            yield {**cell, "k": k}


def _measure(workspace: Workspace, network: str, method: str, seed: int, k: int) -> Row:
    trained = workspace.train(network, method, seed)
    modules = trained.modules.with_threshold(workspace.config.threshold)
    rows = [row for row in workspace.measure_subtasks(trained, modules) if row["k"] == k]
    figures = ("accuracy", "full_accuracy", "size", "flops")
    means = {name: float(np.mean([row[name] for row in rows])) for name in figures}
    return {
        "subtasks": len(rows),
        "reuse_accuracy": means.pop("accuracy"),
        **means,
        **_verify(workspace, modules, rows),
    }


def _verify(workspace: Workspace, modules: ModuleSet, rows: list[Row]) -> Row:
    """The largest errors of the rows against composed models; logits relative to their scale."""
    by_subtask = {row["classes"]: row for row in rows}
    chosen = draw_subtasks(list(by_subtask), workspace.config.verified)
    data = workspace.data
    if why_not_staged(modules) or not chosen:  # the rows are of composed models
        return {"verified": 0, "accuracy_error": None, "logit_error": None}
    found = verify(modules, chosen, data.x_test, data.y_test)
    errors = [abs(v.composed_accuracy - by_subtask[v.classes]["accuracy"]) for v in found]
    logits = [v.largest_difference / v.scale for v in found]
    return {
        "verified": len(found),
        "accuracy_error": max(errors),
        "logit_error": max(logits),
    }


REUSE = Experiment(
    name="reuse",
    title="Reuse accuracy, size and FLOPs against the number of classes (MODA, figure 3)",
    config_class=ReuseConfig,
    key=("network", "method", "seed", "k"),
    figures=FIGURES,
    cells=_cells,
    measure=_measure,
    group_by=("network", "method", "k"),
)
