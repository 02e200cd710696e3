"""Table 3: reuse accuracy, size and overlap of modules."""

from dataclasses import dataclass

import numpy as np

from moda_keras.evaluation import mean_overlap, module_size
from moda_keras.experiments.config import ExperimentConfig
from moda_keras.experiments.experiment import Experiment, Row, Workspace, trainings
from moda_keras.experiments.trained_model import TrainedModel

FIGURES = ("accuracy", "reuse_accuracy", "full_accuracy", "module_size", "module_overlap")


@dataclass(frozen=True, kw_only=True)
class ModulesConfig(ExperimentConfig):
    """As `ExperimentConfig`, with training without compactness as a third method."""

    methods: tuple[str, ...] = ("standard", "modular", "no_compactness")


def measure_modules(workspace: Workspace, trained: TrainedModel, threshold: float) -> Row:
    """The figures of a model's modules at a threshold.

    Args:
        workspace: Holds data and sub-tasks.
        trained: The model.
        threshold: tau.

    Returns:
        Dict: the model's test `accuracy`, `reuse_accuracy` and `full_accuracy` (means over
        sub-tasks, of composed models and of the full model), mean `module_size` and mean
        `module_overlap`.
    """
    modules = trained.modules.with_threshold(threshold)
    subtasks = workspace.measure_subtasks(trained, modules)
    return {
        "accuracy": trained.accuracy,
        "reuse_accuracy": float(np.mean([row["accuracy"] for row in subtasks])),
        "full_accuracy": float(np.mean([row["full_accuracy"] for row in subtasks])),
        "module_size": float(np.nanmean(module_size(modules))),
        "module_overlap": mean_overlap(modules),
    }


def _measure(workspace: Workspace, network: str, method: str, seed: int) -> Row:
    trained = workspace.train(network, method, seed)
    return measure_modules(workspace, trained, workspace.config.threshold)


MODULES = Experiment(
    name="modules",
    title="Reuse accuracy, size and overlap of modules (MODA, table 3)",
    config_class=ModulesConfig,
    key=("network", "method", "seed"),
    figures=FIGURES,
    cells=trainings,
    measure=_measure,
    group_by=("network", "method"),
)
