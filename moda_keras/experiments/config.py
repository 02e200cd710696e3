"""The settings that all experiments have; the defaults are the paper's."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from moda_keras.datasets import AUGMENTATIONS, DataSettings
from moda_keras.training.warmup import WARMUPS
from moda_keras.zoo.registry import check_network

METHODS = ("standard", "modular", "no_compactness")
# Settings that do not affect results, so a run may be resumed with other values.
NOT_OF_THE_RESULT = {"n_jobs", "data_dir", "cache", "download"}


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig(DataSettings):
    """Data, networks, recipe and scale of an experiment; for the data see `DataSettings`.

    The paper trained on "100K images" of SVHN, that is, without its extra split: `extra=False`.

    Attributes:
        networks: Names out of `NETWORKS`.
        methods: Kinds of training: "standard", "modular" and "no_compactness" (gamma 0).
        epochs, batch_size, learning_rate: Of SGD with Nesterov momentum 0.9 and cosine decay.
        augment: "crop_flip", "crop" or "none".
        alpha, beta, gamma: Weights of the modular objectives.
        warmup: Of `MODALoss`: None, the paper's loss with constant weights, or "accuracy", the
            default of `MODALoss` itself.
        threshold: tau of the decomposition.
        seeds: Seeds; each is a run of its own.
        subtasks: How many sub-tasks to measure, drawn at random; None for all of `subtasks_of`.
        n_jobs: Number of worker processes for sub-tasks, as in joblib.
        scale: The fraction of epochs and sub-tasks to run, in (0, 1], for small machines.
    """

    data: str = "cifar10"
    networks: tuple[str, ...] = ("vgg16", "resnet18", "mobilenet")
    methods: tuple[str, ...] = ("standard", "modular")
    epochs: int = 200
    batch_size: int = 128
    learning_rate: float = 0.05
    augment: str = "crop_flip"
    alpha: float = 1.0
    beta: float = 1.0
    gamma: float = 0.3
    warmup: str | None = None
    threshold: float = 0.9
    seeds: tuple[int, ...] = (0,)
    subtasks: int | None = None
    n_jobs: int | None = 1
    scale: float = 1.0

    def __post_init__(self):
        for name, value in vars(self).items():
            if isinstance(value, list):  # as from YAML and JSON
                object.__setattr__(self, name, tuple(value))
        for network in self.networks:
            check_network(network)
        _check_choices("methods", self.methods, METHODS)
        _check_choices("augment", (self.augment,), AUGMENTATIONS)
        _check_choices("warmup", (self.warmup,), WARMUPS)
        if not 0 < self.scale <= 1:
            raise ValueError(f"Expected `scale` in (0, 1]. Received: scale={self.scale}")
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"Expected a positive integer `{name}`. Received: {name}={getattr(self, name)}"
                )
        if not self.seeds:
            raise ValueError("Expected at least one seed in `seeds`. Received: seeds=()")

    def scaled(self, number: int) -> int:
        """A number of epochs or sub-tasks at this scale; at least 1."""
        return max(1, round(self.scale * number))

    def weights(self, method: str) -> tuple[float, float, float] | None:
        """alpha, beta and gamma of a kind of training; None for standard training."""
        gamma = 0.0 if method == "no_compactness" else self.gamma
        return None if method == "standard" else (self.alpha, self.beta, gamma)

    def identity(self) -> dict[str, Any]:
        """All settings that the results depend on, as JSON values."""
        fields = dataclasses.asdict(self).items()
        of_the_result = {name: value for name, value in fields if name not in NOT_OF_THE_RESULT}
        return json.loads(json.dumps(of_the_result))


def _check_choices(name: str, received: tuple, known: tuple) -> None:
    unknown = [each for each in received if each not in known]
    if unknown or not received:
        raise ValueError(f"Expected `{name}` out of {list(known)}. Received: {list(received)}")
