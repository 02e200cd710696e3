"""The effect of each weight of the modular loss: alpha, beta and gamma, one at a time."""

from collections.abc import Iterator
from dataclasses import dataclass

from moda_keras.experiments.config import ExperimentConfig
from moda_keras.experiments.experiment import Experiment, Row, Workspace
from moda_keras.experiments.tables.modules import FIGURES, measure_modules

WEIGHTS = ("alpha", "beta", "gamma")


@dataclass(frozen=True, kw_only=True)
class AblationConfig(ExperimentConfig):
    """As `ExperimentConfig`; `methods` is not used.

    Attributes:
        alphas, betas, gammas: Values of each weight; the other two are `alpha`, `beta`, `gamma`.
    """

    networks: tuple[str, ...] = ("vgg16",)
    methods: tuple[str, ...] = ("modular",)
    alphas: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0)
    betas: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0)
    gammas: tuple[float, ...] = (0.0, 0.1, 0.3, 1.0)


def _cells(workspace: Workspace) -> Iterator[Row]:
    config = workspace.config
    for network in config.networks:
        for weight in WEIGHTS:
            for value in getattr(config, f"{weight}s"):
                for seed in config.seeds:
                    yield {"network": network, "weight": weight, "value": value, "seed": seed}


def _measure(workspace: Workspace, network: str, weight: str, value: float, seed: int) -> Row:
    config = workspace.config
    weights = {name: getattr(config, name) for name in WEIGHTS}
    weights[weight] = value
    trained = workspace.train(network, "modular", seed, weights=tuple(weights.values()))
    return measure_modules(workspace, trained, config.threshold)


ABLATION = Experiment(
    name="ablation",
    title="Weights of affinity, dispersion and compactness, one at a time",
    config_class=AblationConfig,
    key=("network", "weight", "value", "seed"),
    figures=FIGURES,
    cells=_cells,
    measure=_measure,
    group_by=("network", "weight", "value"),
)
