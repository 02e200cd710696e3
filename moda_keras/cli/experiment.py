"""`moda experiment`."""

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moda_keras.cli.command import Answer
from moda_keras.cli.errors import Interrupted
from moda_keras.cli.options import EXPERIMENTS, complete_experiment, flag
from moda_keras.cli.terminal import progress, rows_table, say

if TYPE_CHECKING:
    from rich.table import Table

    from moda_keras.experiments import Experiment, ExperimentConfig


def experiment(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...",
            help=f"Out of {', '.join(EXPERIMENTS)}, or all.",
            autocompletion=complete_experiment,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="YAML file of settings, see the documentation."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change one setting, of all experiments or, as EXPERIMENT.KEY, of one.",
        ),
    ] = None,
    scale: Annotated[
        float | None, typer.Option(metavar="X", help="Share of epochs and sub-tasks, in (0, 1].")
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(metavar="N", help="Processes that measure sub-tasks; -1 for one per core."),
    ] = None,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", help="Folder of results and models."),
    ] = Path("results"),
    markdown: Annotated[bool, flag("--markdown", "Print Markdown tables.")] = False,
    lists: Annotated[bool, flag("--list", "List the experiments.")] = False,
    restart: Annotated[
        bool,
        flag("--restart", "Discard the results of these experiments and interrupted trainings."),
    ] = False,
) -> Answer:
    """Repeat the paper's tables and figures on any data, by default with the paper's settings.

    Writes NAME.csv, NAME-summary.csv and NAME.json (settings, versions, hardware) to the output
    folder. Rerun the command to resume an interrupted experiment. Experiments in one folder share
    trained models, which --restart keeps.

    **Examples**

    ```console
    moda experiment --list
    moda experiment modules reuse --set data=cifar10/ --set networks=vgg16
    moda experiment all --config digits.yaml --scale 0.1 -o results/digits
    moda experiment threshold --set threshold.thresholds=0.5,0.9 --jobs -1
    ```
    """
    from moda_keras import experiments

    if lists:
        return _list(experiments.EXPERIMENTS)
    chosen = _chosen(names or [])
    configs = _configs(chosen, config, settings or [], {"scale": scale, "n_jobs": jobs})
    run = partial(_run, output=output, restart=restart)
    rows = {name: run(experiments.EXPERIMENTS[name], configs[name]) for name in chosen}
    found = {name: experiments.EXPERIMENTS[name].summary(rows[name]) for name in chosen}
    summaries = {
        name: {"config": configs[name].identity(), "summary": found[name]} for name in chosen
    }
    document = {"output": str(output), "experiments": summaries}
    titles = {name: f"{name}: {experiments.EXPERIMENTS[name].title}" for name in chosen}
    if markdown:
        shown = [f"## {titles[name]}\n\n{markdown_table(found[name])}\n" for name in chosen]
    else:
        shown = [summary_table(titles[name], found[name]) for name in chosen]
        shown.append(f"Results are in {output}.")
    return Answer(document, shown)


def _chosen(names: list[str]) -> list[str]:
    unknown = [name for name in names if name not in (*EXPERIMENTS, "all")]
    if unknown or not names:
        raise typer.BadParameter(
            f"Expected names out of {', '.join(EXPERIMENTS)}, or all. Received: "
            f"{', '.join(unknown) or 'none'}"
        )
    return list(dict.fromkeys(EXPERIMENTS if "all" in names else names))


def _configs(
    names: list[str], path: Path | None, settings: list[str], flags: dict[str, Any]
) -> dict[str, "ExperimentConfig"]:
    """The config of each experiment: from the file, then --set, then the flags."""
    from moda_keras import experiments

    merged = {} if path is None else experiments.load_settings(path)
    for text in settings:
        merged = experiments.merge_settings(merged, experiments.parse_setting(text))
    given = {name: value for name, value in flags.items() if value is not None}
    known = experiments.EXPERIMENTS
    return {
        name: dataclasses.replace(
            experiments.config_from_settings(known[name], merged, known), **given
        )
        for name in names
    }


def _run(
    experiment: "Experiment", config: "ExperimentConfig", output: Path, restart: bool
) -> list[dict[str, Any]]:
    from moda_keras.cli.training import StopAfterEpoch, TrainingProgress

    if restart:
        experiment.discard(output)
    names = (experiment.name, "  epochs", "  sub-tasks")
    try:
        with StopAfterEpoch() as stop, progress(*names) as (cells, training, sweep):
            rows = experiment.run(
                config,
                output,
                cells.update,
                callbacks=[TrainingProgress(training), stop],
                sweep_progress=sweep.update_and_hide,
            )
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"Interrupted. Results so far are in {str(output)!r}. Rerun the command to resume"
        ) from error
    say(f"{experiment.name}: {len(rows)} rows in {output / experiment.name}.csv")
    return rows


def _list(experiments: dict[str, "Experiment"]) -> Answer:
    document = {
        name: {
            "title": each.title,
            "fields": dataclasses.asdict(each.config()),
        }
        for name, each in experiments.items()
    }
    titles = [(name, each.title) for name, each in experiments.items()]
    return Answer(document, [rows_table(None, ("experiment", "what it shows"), titles)])


def summary_table(title: str, rows: Sequence[dict[str, Any]]) -> "Table":
    """A summary as a table for the terminal.

    Args:
        title: Its title.
        rows: As `Experiment.summary` returns them.

    Returns:
        A rich table.
    """
    names = _columns(rows)
    return rows_table(title, names, [[_cell(row, name) for name in names] for row in rows])


def markdown_table(rows: Sequence[dict[str, Any]]) -> str:
    """A summary as a Markdown table.

    Args:
        rows: As `Experiment.summary` returns them.

    Returns:
        Str of several lines.
    """
    names = _columns(rows)
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(_cell(row, name) for name in names) + " |" for row in rows]
    return "\n".join(lines)


def _columns(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Names of the columns in order; deviations are shown after their means."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [name for name in names if not name.endswith("_sd")]


def _cell(row: dict[str, Any], name: str) -> str:
    value, deviation = row.get(name), row.get(f"{name}_sd")
    if value is None:
        return ""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4g}" + (f" ± {deviation:.2g}" if deviation else "")
