"""How much the figures vary with the seed."""

from dataclasses import dataclass

from moda_keras.experiments.config import ExperimentConfig
from moda_keras.experiments.experiment import Experiment, Row, Workspace, trainings
from moda_keras.experiments.tables.modules import FIGURES, measure_modules


@dataclass(frozen=True, kw_only=True)
class StabilityConfig(ExperimentConfig):
    """As `ExperimentConfig`, with five seeds."""

    networks: tuple[str, ...] = ("vgg16",)
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)


def _measure(workspace: Workspace, network: str, method: str, seed: int) -> Row:
    trained = workspace.train(network, method, seed)
    figures = measure_modules(workspace, trained, workspace.config.threshold)
    return {**figures, "seconds": trained.seconds}


STABILITY = Experiment(
    name="stability",
    title="Mean and deviation of every figure over seeds",
    config_class=StabilityConfig,
    key=("network", "method", "seed"),
    figures=(*FIGURES, "seconds"),
    cells=trainings,
    measure=_measure,
    group_by=("network", "method"),
)
