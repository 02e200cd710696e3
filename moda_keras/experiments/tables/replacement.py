"""Table 1: a strong model's modules in weak models."""

from collections.abc import Iterator
from dataclasses import dataclass

import keras
import numpy as np

from moda_keras.datasets import Dataset, StreamedDataset
from moda_keras.evaluation.accuracy import is_correct
from moda_keras.evaluation.samples import predict
from moda_keras.experiments.config import ExperimentConfig
from moda_keras.experiments.experiment import Experiment, Row, Workspace
from moda_keras.experiments.recipe import calibrate
from moda_keras.observing.labelled_arrays import draw_of_each_class
from moda_keras.reuse.replace import replace as replace_class

WEAK_KINDS = ("overfitted", "underfitted")


@dataclass(frozen=True, kw_only=True)
class ReplacementConfig(ExperimentConfig):
    """As `ExperimentConfig`; `networks` are those of strong models, `methods` is not used.

    Attributes:
        weak_network: The weak model's network.
        weak_batch_size: Batch size of its training and calibration, because little data makes few
            steps; None for `batch_size`.
        weak_kinds: "overfitted" (`data_fraction` of the data, no augmentation) and "underfitted"
            (`epoch_fraction` of the epochs).
        strategies: "calibrate" (MODA) and "normalize" (CNNSplitter).
        strong_classes: Number of classes of the strong model, the first ones. The weak model has
            the others and one of these, the target, which is replaced.
        targets: The targets; None for all classes of the strong model.
        data_fraction, epoch_fraction: See `weak_kinds`.
        calibration_epochs: Epochs of the calibration layer's training.
    """

    networks: tuple[str, ...] = ("vgg16", "resnet18")
    methods: tuple[str, ...] = ("modular",)
    weak_network: str = "lenet5"
    weak_batch_size: int | None = None
    weak_kinds: tuple[str, ...] = WEAK_KINDS
    strategies: tuple[str, ...] = ("calibrate", "normalize")
    strong_classes: int = 5
    targets: tuple[int, ...] | None = None
    data_fraction: float = 0.1
    epoch_fraction: float = 0.05
    calibration_epochs: int = 5

    @property
    def batch_size_of_weak(self) -> int:
        """`weak_batch_size`, or `batch_size` if that is None."""
        return self.weak_batch_size or self.batch_size


def _cells(workspace: Workspace) -> Iterator[Row]:
    config = workspace.config
    targets = range(config.strong_classes) if config.targets is None else config.targets
    for network in config.networks:
        for weak in config.weak_kinds:
            for strategy in config.strategies:
                for target in targets:
                    for seed in config.seeds:
                        cell = (network, weak, strategy, target, seed)
                        yield dict(zip(KEY, cell, strict=True))


KEY = ("network", "weak", "strategy", "target", "seed")


def _measure(
    workspace: Workspace, network: str, weak: str, strategy: str, target: int, seed: int
) -> Row:
    config, data = workspace.config, workspace.data
    strong_classes = list(range(config.strong_classes))
    weak_classes = [*range(config.strong_classes, len(data.class_names)), target]
    strong = workspace.train(network, "modular", seed, data.of_classes(strong_classes))
    of_weak, changes = _weakened(config, data.of_classes(weak_classes), weak, seed)
    weak_model = workspace.train(config.weak_network, "standard", seed, of_weak, **changes)
    modules = strong.modules.with_threshold(config.threshold)
    keras.utils.set_random_seed(seed)
    last = len(weak_classes) - 1
    patched = replace_class(
        weak_model.modules.model,
        modules[target],
        target_class=last,
        strategy=strategy,
        x=of_weak.unaugmented_batches() if strategy == "normalize" else None,
    )
    if strategy == "calibrate":
        calibrate(
            patched,
            of_weak,
            epochs=config.calibration_epochs,
            batch_size=config.batch_size_of_weak,
            learning_rate=config.learning_rate,
            seed=seed,
        )
    before = target_accuracy(weak_model.modules.model, of_weak, last)
    return {**_named("before", before), **_named("after", target_accuracy(patched, of_weak, last))}


def _weakened(
    config: ReplacementConfig, data: Dataset | StreamedDataset, weak: str, seed: int
) -> tuple[Dataset | StreamedDataset, dict]:
    """The weak model's data, and the fields of the recipe that differ."""
    changes = {"batch_size": config.batch_size_of_weak}
    if weak == "underfitted":
        epochs = config.scaled(config.epochs) * config.epoch_fraction
        return data, {**changes, "epochs": max(1, round(epochs))}
    if weak != "overfitted":
        raise ValueError(f"Expected `weak_kinds` out of {list(WEAK_KINDS)}. Received: {weak!r}")
    classes = range(len(data.class_names))
    rows = draw_of_each_class(data.y_train, classes, float(config.data_fraction), seed)
    return data.with_training_samples(np.concatenate(rows)), {**changes, "augment": "none"}


def target_accuracy(
    model: keras.Model, data: Dataset | StreamedDataset, target: int
) -> tuple[float, float]:
    """Accuracy on the test samples of one class, and on those of all other classes.

    Args:
        model: A model of the data's classes.
        data: The data; test images are used.
        target: Index of the class.

    Returns:
        Two floats in [0, 1].
    """
    correct = is_correct(predict(model, data.test_batches()), data.y_test)
    is_target = data.y_test == target
    return float(correct[is_target].mean()), float(correct[~is_target].mean())


def _named(when: str, accuracy: tuple[float, float]) -> Row:
    return {f"target_{when}": accuracy[0], f"others_{when}": accuracy[1]}


REPLACEMENT = Experiment(
    name="replacement",
    title="Accuracy of weak models before and after a class is replaced (MODA, table 1)",
    config_class=ReplacementConfig,
    key=KEY,
    figures=("target_before", "target_after", "others_before", "others_after"),
    cells=_cells,
    measure=_measure,
    group_by=("network", "weak", "strategy"),
)
