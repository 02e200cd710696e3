"""Whether compactness silenced units that a class needs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from moda_keras.evaluation.masked_evaluator import MaskedEvaluator
from moda_keras.experiments.config import ExperimentConfig
from moda_keras.experiments.experiment import Experiment, Row, Workspace, trainings
from moda_keras.modules.module_set import ModuleSet

FIGURES = ("units", "frequency", "mean_loss", "worst_loss", "worst_class", "losses")


@dataclass(frozen=True, kw_only=True)
class SuppressionConfig(ExperimentConfig):
    """As `ExperimentConfig`.

    Attributes:
        units: How many silenced units of each activation to ablate one by one, drawn at random;
            None for all.
    """

    networks: tuple[str, ...] = ("vgg16",)
    methods: tuple[str, ...] = ("modular",)
    units: int | None = None


def silenced_units(modules: ModuleSet) -> dict[str, np.ndarray]:
    """The units in no module: no class activates them often enough.

    Args:
        modules: The modules.

    Returns:
        Dict from activation name to a bool array (D,).
    """
    return {name: ~units.any(axis=0) for name, units in modules.units.items()}


def ablations(
    silenced: Mapping[str, np.ndarray], units: int | None = None, seed: int = 0
) -> dict[str, dict[str, np.ndarray]]:
    """The sets of silenced units to ablate.

    Args:
        silenced: As from `silenced_units`.
        units: How many units of each activation to ablate one by one; None for all.
        seed: Seed of the draw.

    Returns:
        Dict from the name of a set to the units to ablate, a dict from activation names to bool
        arrays (D,). The sets are "all", each activation (by its name), and single units
        ("name:index").
    """
    random = np.random.default_rng(seed)
    layers = {name: mask for name, mask in silenced.items() if mask.any()}
    groups = {"all": layers, **{name: {name: mask} for name, mask in layers.items()}}
    for name, mask in layers.items():
        for unit in np.sort(random.permutation(np.flatnonzero(mask))[:units]):
            groups[f"{name}:{unit}"] = {name: np.arange(len(mask)) == unit}
    return groups


def class_losses(
    modules: ModuleSet, groups: Mapping[str, Mapping[str, np.ndarray]], x: np.ndarray, y: np.ndarray
) -> dict[str, np.ndarray]:
    """The accuracy that each class loses when units of the full model are ablated.

    Args:
        modules: Modules of the model.
        groups: As from `ablations`.
        x: Test inputs, an array of N samples.
        y: Labels, integers (N,).

    Returns:
        Dict from the name of a set to a float array (C,): accuracy before minus accuracy after; NaN
        for a class without samples.
    """
    whole = ModuleSet.from_units(modules.model, {})
    kept = [{name: ~mask for name, mask in group.items()} for group in groups.values()]
    before, *after = MaskedEvaluator(whole).accuracy_by_class([{}, *kept], x, y)
    return {name: before - accuracy for name, accuracy in zip(groups, after, strict=True)}


def _groups(workspace: Workspace, network: str, method: str, seed: int) -> tuple[ModuleSet, dict]:
    config = workspace.config
    trained = workspace.train(network, method, seed)
    modules = trained.modules.with_threshold(config.threshold)
    return modules, ablations(silenced_units(modules), config.units, seed)


def _cells(workspace: Workspace) -> Iterator[Row]:
    for cell in trainings(workspace):
        for ablated in _groups(workspace, **cell)[1]:
            yield {**cell, "ablated": ablated}


def _measure(workspace: Workspace, network: str, method: str, seed: int, ablated: str) -> Row:
    """Measures all sets of a model at once, when the first of them is needed."""
    key = ("suppression", network, method, seed)
    measured = workspace.once(key, lambda: _measure_all(workspace, network, method, seed))
    return measured[ablated]


def _measure_all(workspace: Workspace, network: str, method: str, seed: int) -> dict[str, Row]:
    modules, groups = _groups(workspace, network, method, seed)
    data = workspace.data
    losses = class_losses(modules, groups, data.x_test, data.y_test)
    return {name: _figures(modules, groups[name], losses[name]) for name in groups}


def _figures(modules: ModuleSet, group: Mapping[str, np.ndarray], losses: np.ndarray) -> Row:
    worst = int(np.nanargmax(losses))
    return {
        "units": sum(int(mask.sum()) for mask in group.values()),
        "frequency": max(float(modules.frequency[n][:, mask].max()) for n, mask in group.items()),
        "mean_loss": float(np.nanmean(losses)),
        "worst_loss": float(losses[worst]),
        "worst_class": modules.class_names[worst],
        "losses": [round(float(loss), 6) for loss in losses],
    }


def _without_index(row: Row) -> Row:
    """Single units of an activation are averaged."""
    name, colon, _ = row["ablated"].partition(":")
    return {**row, "ablated": f"{name} (one by one)" if colon else name}


SUPPRESSION = Experiment(
    name="suppression",
    title="Accuracy that classes lose without the units that compactness silenced",
    config_class=SuppressionConfig,
    key=("network", "method", "seed", "ablated"),
    figures=FIGURES,
    cells=_cells,
    measure=_measure,
    group_by=("network", "method", "ablated"),
    relabel=_without_index,
)
