"""The methods of `moda_keras.methods` side by side: accuracy, size and cost."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from moda_keras.datasets import Dataset
from moda_keras.experiments.compared_methods import COMPARED_METHODS, compared_method
from moda_keras.experiments.config import ExperimentConfig
from moda_keras.experiments.experiment import Experiment, Row, Workspace
from moda_keras.experiments.method_figures import choose_subtasks, measure_method
from moda_keras.zoo.registry import NETWORKS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURES = (
    "accuracy", "reuse_accuracy", "full_accuracy", "before_retraining", "retrained_accuracy",
    "module_size", "module_overlap", "kernels_kept", "cohesion", "coupling", "size", "flops",
    "side_by_side_size", "side_by_side_flops", "parameters", "train_seconds", "modularize_seconds",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class MethodsConfig(ExperimentConfig):
    """As `ExperimentConfig`; `methods` and `subtasks` are not used.

    All methods have the same recipe and data: those that train a model of their own train it for
    `epochs`; the others start from the model of standard training.

    Attributes:
        compared: Names out of `COMPARED_METHODS`.
        options: Arguments of the methods by name, such as the budget of a search:
            `{"gradsplitter": {"epochs": 20}}`. Under the name of a network, options for it alone:
            `{"mwt": {"beta": 1.5, "simcnn": {"beta": 3.5}}}`.
        sizes: Numbers of classes of the sub-tasks.
        subtasks_per_size: How many sub-tasks of each size to measure, drawn at random, the same
            for all methods and seeds.
        retrained_per_size: How many of these to retrain. Methods that train or search anew for
            each sub-task are measured on these alone, and have no `reuse_accuracy`.
        retrain_epochs: Epochs of retraining on the data of the sub-task; 0 for no retraining.
        retrain_learning_rate: Initial learning rate of retraining.
    """

    networks: tuple[str, ...] = ("simcnn", "rescnn", "resnet18")
    compared: tuple[str, ...] = tuple(COMPARED_METHODS)
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    sizes: tuple[int, ...] = (2, 3, 5)
    subtasks_per_size: int = 20
    retrained_per_size: int = 1
    retrain_epochs: int = 3
    retrain_learning_rate: float = 0.01

    def __post_init__(self):
        super().__post_init__()
        for name, received in (("compared", self.compared), ("options", self.options)):
            unknown = sorted(set(received) - set(COMPARED_METHODS))
            if unknown or (name == "compared" and not received):
                raise ValueError(
                    f"Expected `{name}` to have names out of {list(COMPARED_METHODS)}. Received: "
                    f"{unknown or 'none'}"
                )
        for name, least in LEAST.items():
            if getattr(self, name) < least:
                raise ValueError(
                    f"Expected an integer `{name}` >= {least}. Received: "
                    f"{name}={getattr(self, name)}"
                )

    def options_of(self, method: str, network: str) -> dict[str, Any]:
        """The options of a method for a network."""
        options = self.options.get(method, {})
        general = {key: value for key, value in options.items() if key not in NETWORKS}
        return {**general, **options.get(network, {})}


LEAST = {"subtasks_per_size": 1, "retrained_per_size": 1, "retrain_epochs": 0}


def _cells(workspace: Workspace) -> Iterator[Row]:
    config = workspace.config
    _check(workspace)
    for network in config.networks:
        for seed in config.seeds:
            for method in config.compared:
                yield {"network": network, "method": method, "seed": seed}


def _check(workspace: Workspace) -> None:
    """Refuses before any training what could not be measured after it."""
    config = workspace.config
    for network in config.networks:
        for method in config.compared:
            compared_method(method, config.options_of(method, network))
    data = workspace.data
    if not isinstance(data, Dataset):
        raise ValueError(
            "Expected a data set that fits into memory, for the searches read its images again and "
            f"again. Received: data={config.data!r}, which is streamed"
        )
    choose_subtasks(len(data.class_names), config.sizes, 1)


def _measure(workspace: Workspace, network: str, method: str, seed: int) -> Row:
    options = workspace.config.options_of(method, network)
    found = compared_method(method, options).find(workspace, method, network, seed)
    return measure_method(workspace, found, seed)


def draw_methods(summary: Sequence[Row]) -> "Figure":
    """Reuse accuracy against the size of modules and of composed models, for each network.

    Args:
        summary: Rows of `METHODS.summary`.

    Returns:
        A matplotlib figure.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    from moda_keras.reporting import plots

    networks = list(dict.fromkeys(row["network"] for row in summary))
    figure = Figure(figsize=(5 * len(networks), 8), layout="constrained")
    axes = figure.subplots(2, len(networks), squeeze=False)
    for network, column in zip(networks, axes.T, strict=True):
        rows = [row for row in summary if row["network"] == network]
        for size, ax in zip(("module_size", "size"), column, strict=True):
            plots.plot_methods(rows, ax, network, size=size)
    return figure


METHODS = Experiment(
    name="methods",
    title="Methods of modularization: accuracy, size and cost",
    config_class=MethodsConfig,
    key=("network", "method", "seed"),
    figures=FIGURES,
    cells=_cells,
    measure=_measure,
    group_by=("network", "method"),
    draw=draw_methods,
)
