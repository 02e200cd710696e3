"""What all experiments can be told; the defaults are the paper's."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from moda_keras.datasets import AUGMENTATIONS
from moda_keras.zoo.networks import check_network

METHODS = ("standard", "modular", "no_compactness")
# What may differ between a run and the one that goes on with it.
NOT_OF_THE_RESULT = {"n_jobs", "data_dir", "cache"}


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """Data, networks, recipe and scale of an experiment.

    Attributes:
        data: Name or folder, as `moda_keras.datasets.load` takes it.
        image_size: Height and width in pixels, or None for the data's own.
        class_names: The classes, in the order of their labels, or None for all.
        extra: Of "svhn", whether to train with its extra split: True, as MwT; False, as MODA, of
            whose "100K images" it is no part; or None for what `moda_keras.datasets.load` does.
        data_dir, cache: Folders, as `moda_keras.datasets.load` takes them.
        samples_per_class, test_samples_per_class: How many images at most, or None for all.
        networks: Names out of `NETWORKS`.
        methods: Kinds of training out of "standard", "modular" and "no_compactness" (gamma 0).
        epochs, batch_size, learning_rate: Of SGD with Nesterov momentum 0.9 and cosine decay.
        augment: "crop_flip", "crop" or "none".
        alpha, beta, gamma: Weights of the modular objectives.
        threshold: tau of the decomposition.
        seeds: Seeds; each is a run of its own.
        subtasks: How many sub-tasks to measure, drawn at random; None for all of `subtasks_of`.
        n_jobs: Worker processes for sub-tasks, as joblib counts them.
        scale: In (0, 1]: the share of the epochs and of the sub-tasks to do, for small machines.
    """

    data: str = "cifar10"
    image_size: int | None = None
    class_names: tuple[str, ...] | None = None
    extra: bool | None = None
    data_dir: str | None = None
    cache: str | None = None
    samples_per_class: int | None = None
    test_samples_per_class: int | None = None
    networks: tuple[str, ...] = ("vgg16", "resnet18", "mobilenet")
    methods: tuple[str, ...] = ("standard", "modular")
    epochs: int = 200
    batch_size: int = 128
    learning_rate: float = 0.05
    augment: str = "crop_flip"
    alpha: float = 1.0
    beta: float = 1.0
    gamma: float = 0.3
    threshold: float = 0.9
    seeds: tuple[int, ...] = (0,)
    subtasks: int | None = None
    n_jobs: int | None = 1
    scale: float = 1.0

    def __post_init__(self):
        for name, value in vars(self).items():
            if isinstance(value, list):  # as YAML and JSON give them
                object.__setattr__(self, name, tuple(value))
        for network in self.networks:
            check_network(network)
        _check_choices("methods", self.methods, METHODS)
        _check_choices("augment", (self.augment,), AUGMENTATIONS)
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
        """All that the results depend on, as JSON knows it."""
        fields = dataclasses.asdict(self).items()
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in fields
            if name not in NOT_OF_THE_RESULT
        }


def _check_choices(name: str, received: tuple, known: tuple) -> None:
    unknown = [each for each in received if each not in known]
    if unknown or not received:
        raise ValueError(f"Expected `{name}` out of {list(known)}. Received: {list(received)}")
