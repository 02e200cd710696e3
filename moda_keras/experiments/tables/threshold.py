"""Figure 4: the effect of tau on modules."""

from collections.abc import Iterator
from dataclasses import dataclass

from moda_keras.experiments.config import ExperimentConfig
from moda_keras.experiments.experiment import Experiment, Row, Workspace, trainings
from moda_keras.experiments.tables.modules import FIGURES, measure_modules


@dataclass(frozen=True, kw_only=True)
class ThresholdConfig(ExperimentConfig):
    """As `ExperimentConfig`; `threshold` is not used.

    Attributes:
        thresholds: The values of tau.
    """

    networks: tuple[str, ...] = ("vgg16",)
    methods: tuple[str, ...] = ("modular",)
    thresholds: tuple[float, ...] = (0.1, 0.5, 0.8, 0.9, 0.95)


def _cells(workspace: Workspace) -> Iterator[Row]:
    for cell in trainings(workspace):
        for threshold in workspace.config.thresholds:
            yield {**cell, "threshold": threshold}


def _measure(workspace: Workspace, network: str, method: str, seed: int, threshold: float) -> Row:
    return measure_modules(workspace, workspace.train(network, method, seed), threshold)


THRESHOLD = Experiment(
    name="threshold",
    title="Reuse accuracy, size and overlap against tau (MODA, figure 4)",
    config_class=ThresholdConfig,
    key=("network", "method", "seed", "threshold"),
    figures=FIGURES,
    cells=_cells,
    measure=_measure,
    group_by=("network", "method", "threshold"),
)
