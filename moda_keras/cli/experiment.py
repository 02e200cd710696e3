"""`moda experiment`."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moda_keras.cli.command import Answer
from moda_keras.cli.completion import EXPERIMENTS, complete_experiment
from moda_keras.cli.errors import Interrupted
from moda_keras.cli.progress import progress
from moda_keras.cli.summary_table import markdown_table, summary_table
from moda_keras.cli.terminal import rows_table, say

if TYPE_CHECKING:
    from moda_keras.experiments import Experiment, ExperimentConfig


def experiment(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...",
            help=f"Out of {', '.join(EXPERIMENTS)}; or all.",
            autocompletion=complete_experiment,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="YAML file: fields of the config; under the name of an experiment its own."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="One field; EXPERIMENT.KEY its own."),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(help="In (0, 1]: the share of epochs and sub-tasks to do."),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Processes that measure sub-tasks; -1: one for each core.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of results and trained models.")
    ] = Path("results"),
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown tables.")] = False,
    listed: Annotated[
        bool, typer.Option("--list", help="List the experiments and their fields.")
    ] = False,
) -> Answer:
    """Repeat the paper's tables and figures on any data; what is given nowhere is the paper's.

    Writes NAME.csv, NAME-summary.csv and NAME.json (with config, versions and hardware) to the
    output folder. What was interrupted or killed goes on when the same command is given again;
    experiments on one folder share trained models.

    **Examples**

    ```console
    moda experiment --list
    moda experiment modules reuse --set data=cifar10/ --set networks=vgg16
    moda experiment all --config digits.yaml --scale 0.1 -o results/digits
    moda experiment threshold --set threshold.thresholds=0.5,0.9 --jobs -1
    ```
    """
    from moda_keras import experiments

    if listed:
        return _list(experiments.EXPERIMENTS)
    chosen = _chosen(names or [])
    merged = {} if config is None else experiments.load_settings(config)
    for text in settings or []:
        merged = experiments.merge_settings(merged, experiments.parse_setting(text))
    flags = {"scale": scale, "n_jobs": jobs}
    flags = {name: value for name, value in flags.items() if value is not None}
    configs = {
        name: dataclasses.replace(
            experiments.config_from_settings(
                experiments.EXPERIMENTS[name], merged, experiments.EXPERIMENTS
            ),
            **flags,
        )
        for name in chosen
    }
    rows = {
        name: _run(experiments.EXPERIMENTS[name], settings_of, output)
        for name, settings_of in configs.items()
    }
    found = {name: experiments.EXPERIMENTS[name].summary(rows[name]) for name in chosen}
    document = {
        "output": str(output),
        "experiments": {
            name: {"config": configs[name].identity(), "summary": summary}
            for name, summary in found.items()
        },
    }
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
            f"Expected names of experiments out of {', '.join(EXPERIMENTS)}, or all. Received: "
            f"{', '.join(unknown) or 'none'}"
        )
    wanted = EXPERIMENTS if "all" in names else names
    return list(dict.fromkeys(wanted))


def _run(
    experiment: "Experiment", config: "ExperimentConfig", output: Path
) -> list[dict[str, Any]]:
    from moda_keras.cli.training_callbacks import StopAfterEpoch, TrainingProgress

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
            f"Interrupted. What is done is in {str(output)!r}: the same command goes on from there"
        ) from error
    say(f"{experiment.name}: {len(rows)} rows in {output / experiment.name}.csv")
    return rows


def _list(experiments: dict[str, "Experiment"]) -> Answer:
    document = {
        name: {
            "title": each.title,
            "fields": {
                field.name: field.default for field in dataclasses.fields(each.config_class)
            },
        }
        for name, each in experiments.items()
    }
    titles = [(name, each.title) for name, each in experiments.items()]
    return Answer(document, [rows_table(None, ("experiment", "what it shows"), titles)])
