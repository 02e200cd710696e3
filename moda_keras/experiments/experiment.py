"""Experiments: cells that are measured one by one and written to a file as they complete."""

import functools
import json
import warnings
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from moda_keras import datasets
from moda_keras.claims import claimed
from moda_keras.evaluation.results_file import ResultsFile, write_rows
from moda_keras.evaluation.subtask_sweep import sweep_subtasks
from moda_keras.evaluation.subtasks import draw_share, subtasks_of
from moda_keras.experiments.config import ExperimentConfig
from moda_keras.experiments.environment import describe_environment
from moda_keras.experiments.recipe import Recipe
from moda_keras.experiments.trained_model import TrainedModel, discard_interrupted, train_model
from moda_keras.files import reading, replacing, write_text
from moda_keras.modules.checked_files.json_text import parse_json
from moda_keras.modules.module_set import ModuleSet

Row = dict[str, Any]
Progress = Callable[[int, int, str], Any]
SweepProgress = Callable[[int, int], Any]

# Number of trained models and other intermediate results kept in memory.
KEPT = 4


class Workspace:
    """The data, the trained models and the sub-tasks of an experiment.

    Args:
        config: The experiment's config.
        folder: The output folder. Experiments with the same folder share trained models.
        callbacks: Keras callbacks for every training.
        sweep_progress: Called as `sweep_progress(done, total)`, in sub-tasks.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        folder: Path,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        sweep_progress: SweepProgress | None = None,
    ):
        self.config = config
        self.folder = folder
        self.callbacks = callbacks
        self.sweep_progress = sweep_progress
        self._known: dict[Hashable, Any] = {}

    def once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The cached result of `make()`; the last few results are kept."""
        if key not in self._known:
            made = make()
            if len(self._known) >= KEPT:
                self._known.pop(next(iter(self._known)))
            self._known[key] = made
        return self._known[key]

    @functools.cached_property
    def data(self) -> datasets.Dataset | datasets.StreamedDataset:
        """The data, each channel with mean 0 and deviation 1 over the training images."""
        return self.config.load_data().standardized()

    def recipe(self, network: str, method: str, seed: int) -> Recipe:
        """The config's recipe of a network, a kind of training and a seed."""
        config = self.config
        return Recipe(
            network=network,
            weights=config.weights(method),
            epochs=config.scaled(config.epochs),
            batch_size=config.batch_size,
            learning_rate=config.learning_rate,
            augment=config.augment,
            seed=seed,
            warmup=None if method == "standard" else config.warmup,
        )

    def train(
        self,
        network: str,
        method: str,
        seed: int,
        data: datasets.Dataset | datasets.StreamedDataset | None = None,
        **changes: Any,
    ) -> TrainedModel:
        """A model trained by the config's recipe, with `changes` of the `Recipe`'s fields."""
        return self.train_by(replace(self.recipe(network, method, seed), **changes), data)

    def train_by(
        self, recipe: Recipe, data: datasets.Dataset | datasets.StreamedDataset | None = None
    ) -> TrainedModel:
        """A model trained by a recipe."""
        data = data or self.data
        key = (recipe, data.digest())
        folder = self.folder / "models"
        return self.once(key, lambda: train_model(recipe, data, folder, self.callbacks))

    def measure_subtasks(self, trained: TrainedModel, modules: ModuleSet) -> list[Row]:
        """The figures of the config's sub-tasks, as `sweep_subtasks` returns and stores them."""
        config = self.config
        subtasks = subtasks_of(modules.num_classes)
        share = min(1.0, (config.subtasks or len(subtasks)) / len(subtasks))
        chosen = draw_share(subtasks, config.scale * share)
        name = f"{trained.name}-tau{modules.threshold_label}-{len(chosen)}.csv"
        return sweep_subtasks(
            modules,
            self.data.x_test,
            self.data.y_test,
            self.folder / "subtasks" / name,
            subtasks=chosen,
            n_jobs=config.n_jobs,
            progress=self.sweep_progress,
        )


@dataclass(frozen=True)
class Experiment:
    """An experiment that reproduces a table or figure.

    Attributes:
        name: Name of the experiment and of its files.
        title: One line that says what it shows.
        config_class: A subclass of `ExperimentConfig`; its defaults are the paper's.
        key: Names of the columns that identify a cell.
        figures: Names of the measured columns.
        cells: `cells(workspace)` returns the cells, dicts with the key's columns.
        measure: `measure(workspace, **cell)` returns a dict with the figures' columns.
        group_by: Names of key columns; the summary averages over the others.
        relabel: Applied to each row before the summary; rows that get equal keys are averaged.
        draw: `draw(summary)` returns a matplotlib figure; None if there is none.
    """

    name: str
    title: str
    config_class: type[ExperimentConfig]
    key: Sequence[str]
    figures: Sequence[str]
    cells: Callable[[Workspace], Iterable[Row]]
    measure: Callable[..., Row]
    group_by: Sequence[str]
    relabel: Callable[[Row], Row] = dict
    draw: Callable[[Sequence[Row]], Any] | None = None

    def config(self, **arguments: Any) -> ExperimentConfig:
        """A config; settings that are not given have the paper's values.

        Args:
            **arguments: Fields of `config_class`.

        Returns:
            An instance of `config_class`.

        Raises:
            ValueError: If a value is impossible, or a name is not a field.
        """
        self.check_names(arguments)
        return self.config_class(**arguments)

    def check_names(self, names: Iterable[str]) -> None:
        """Raises a ValueError if one of the names is not a field of the config."""
        known = self.config_class.__dataclass_fields__
        unknown = sorted(set(names) - set(known))
        if unknown:
            raise ValueError(
                f"Unknown setting of the experiment {self.name!r}. Expected names out of "
                f"{sorted(known)}. Received: {unknown}"
            )

    def summary(self, rows: Sequence[Row]) -> list[Row]:
        """The table of the experiment: `summarize` over `group_by`.

        Args:
            rows: As `run` returns them.

        Returns:
            A dict per group.
        """
        return summarize([self.relabel(row) for row in rows], self.group_by, self.figures)

    def run(
        self,
        config: ExperimentConfig | None = None,
        output: str | Path = "results",
        progress: Progress | None = None,
        *,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        sweep_progress: SweepProgress | None = None,
    ) -> list[Row]:
        """Runs the experiment, or resumes it.

        Writes `<name>.csv` (a row per cell), `<name>-summary.csv` (means and standard deviations)
        and `<name>.json` (config, versions, hardware, summary) to the output folder, and keeps
        trained models and sub-tasks there.

        Args:
            config: The config; the paper's by default.
            output: The output folder.
            progress: Called as `progress(done, total, cell)`, in cells.
            callbacks: Keras callbacks for every training, as in `fit_by_recipe`.
            sweep_progress: Called as `sweep_progress(done, total)`, in sub-tasks.

        Returns:
            The rows, a dict for each cell.

        Raises:
            FileInUseError: If another process runs this experiment in this folder, or trains one of
                its models there.
            ValueError: If the folder has results of this experiment with another config.
        """
        with claimed(Path(output) / f"{self.name}.csv"):
            return self._run(config, Path(output), progress, callbacks, sweep_progress)

    def discard(self, output: str | Path = "results") -> None:
        """Removes the results of this experiment, and the states of interrupted trainings.

        Trained models and sub-tasks stay: they say which recipe and which data they are of.

        Args:
            output: The output folder.

        Raises:
            FileInUseError: As `run`.
        """
        folder = Path(output)
        with claimed(folder / f"{self.name}.csv"):
            for suffix in (".csv", ".json", "-summary.csv", ".png"):
                (folder / f"{self.name}{suffix}").unlink(missing_ok=True)
            discard_interrupted(folder / "models")

    def _run(
        self,
        config: ExperimentConfig | None,
        folder: Path,
        progress: Progress | None,
        callbacks: Sequence[keras.callbacks.Callback],
        sweep_progress: SweepProgress | None,
    ) -> list[Row]:
        config = config or self.config_class()
        record = _Record(folder / f"{self.name}.json", self.name, config)
        results = ResultsFile(folder / f"{self.name}.csv", [*self.key, *self.figures], self.key)
        workspace = Workspace(config, folder, callbacks, sweep_progress)
        cells = list(self.cells(workspace))
        for done, cell in enumerate(cells):
            if progress:
                progress(done, len(cells), " ".join(map(str, cell.values())))
            if not results.has(**cell):
                results.append([{**cell, **self.measure(workspace, **cell)}])
        rows = results.rows()
        summary = self.summary(rows)
        if summary:
            write_rows(folder / f"{self.name}-summary.csv", _of_equal_keys(summary))
            self._write_figure(folder / f"{self.name}.png", summary)
        record.finish(summary)
        if progress:
            progress(len(cells), len(cells), "done")
        return rows

    def _write_figure(self, path: Path, summary: Sequence[Row]) -> None:
        if self.draw is None:
            return
        try:
            figure = self.draw(summary)
        except ImportError as error:
            warnings.warn(f"{path.name!r} is not drawn: {error}", stacklevel=3)
            return
        with replacing(path) as beside:
            figure.savefig(beside, dpi=150, format="png")


class _Record:
    """The JSON file beside the rows."""

    def __init__(self, path: Path, name: str, config: ExperimentConfig):
        self.path = path
        self.defaults = type(config)().identity()
        self.content = {"experiment": name, "config": config.identity(), "environments": []}
        if path.exists():
            found = _read_record(path)
            # Results of older versions lack the settings added since.
            self._check({**self.defaults, **found["config"]})
            self.content = found
        environment = describe_environment()
        if environment not in self.content["environments"]:
            self.content["environments"].append(environment)
        self._write()

    def finish(self, summary: list[Row]) -> None:
        self.content["summary"] = summary
        self._write()

    def _check(self, before: dict) -> None:
        now = self.content["config"]
        changed = [key for key in now if now[key] != before[key]]
        if changed:
            raise ValueError(
                f"Expected the config of the results in {str(self.path)!r}, to resume: "
                f"{ {key: before[key] for key in changed} }. Received: "
                f"{ {key: now[key] for key in changed} }. Choose another output folder, "
                "or discard the results with `moda experiment --restart`"
            )

    def _write(self) -> None:
        write_text(self.path, json.dumps(self.content, indent=2))


def _read_record(path: Path) -> dict[str, Any]:
    what = "the record of an experiment, in JSON (`moda experiment --restart` discards it)"
    with reading(path, what):
        content = parse_json(path.read_bytes(), "it")
        return {
            **content,
            "config": {**content["config"]},
            "environments": [*content["environments"]],
        }


def summarize(rows: Sequence[Row], group_by: Sequence[str], figures: Sequence[str]) -> list[Row]:
    """Means and standard deviations of figures over groups of rows.

    Args:
        rows: Dicts.
        group_by: Names of the columns that tell groups apart.
        figures: Names of the columns to average; values that are not numbers are ignored.

    Returns:
        A dict per group, in the order of first appearance: its columns, `cells` (the number of
        rows), and for each figure its mean and, as `<figure>_sd`, its sample standard deviation,
        None for a single row.
    """
    groups: dict[tuple, list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in group_by), []).append(row)
    return [
        {**dict(zip(group_by, key, strict=True)), "cells": len(group), **_figures(group, figures)}
        for key, group in groups.items()
    ]


def _of_equal_keys(rows: list[Row]) -> list[Row]:
    """The rows with all keys of any; what a row lacks is None."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name) for name in names} for row in rows]


def _figures(rows: list[Row], names: Sequence[str]) -> Row:
    found: Row = {}
    for name in names:
        values = [row[name] for row in rows if isinstance(row[name], (int, float))]
        if values:
            found[name] = float(np.mean(values))
            found[f"{name}_sd"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return found


def trainings(workspace: Workspace) -> Iterator[Row]:
    """One cell for each training: network, method and seed."""
    config = workspace.config
    for network in config.networks:
        for method in config.methods:
            for seed in config.seeds:
                yield {"network": network, "method": method, "seed": seed}
