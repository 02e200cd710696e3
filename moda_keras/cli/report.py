"""`moda report`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from moda_keras.cli import files
from moda_keras.cli.command import Answer
from moda_keras.cli.data import OptionalDataArguments, data_of_model
from moda_keras.cli.errors import CommandError
from moda_keras.cli.options import Force
from moda_keras.cli.terminal import working


def report(
    modules: Annotated[Path, typer.Argument(help="A module file.")],
    data: OptionalDataArguments,
    output: Annotated[Path, typer.Option("--output", "-o", help="The page to write, FILE.html.")],
    title: Annotated[str | None, typer.Option(help="Title of the page.")] = None,
    subtasks_file: Annotated[
        Path | None,
        typer.Option(help="Sub-tasks that an experiment measured: RESULTS/subtasks/*.csv."),
    ] = None,
    history: Annotated[
        Path | None,
        typer.Option(help="Epochs of the training, as moda train writes them."),
    ] = None,
    force: Force = False,
) -> Answer:
    """Write one page that shows what modules are like, and what to do about it.

    With test data it has accuracies too. The page needs no network.

    **Examples**

    ```console
    moda report vgg.modules -o vgg.html
    moda report vgg.modules --data cifar10/ --history vgg.csv -o vgg.html
    ```
    """
    from moda_keras.reporting import write_report

    sources = (modules, subtasks_file, history, *data.files())
    files.check_output(output, force=force, suffix=".html", sources=sources)
    loaded = files.load_modules(modules, output)
    for path in (subtasks_file, history):
        if path is not None:
            files.require_file(path)
    test = {}
    if data.data is not None:
        found = data_of_model(
            data.load(loaded.class_names), loaded.model, modules, loaded.class_names
        )
        test = {"x_test": found.x_test, "y_test": found.y_test}
    with working("Writing the report"):
        write_report(
            loaded,
            output,
            **test,
            title=title,
            subtask_rows=None if subtasks_file is None else _subtask_rows(subtasks_file),
            history=history,
        )
    document = {"report": str(output), "with_accuracy": bool(test)}
    return Answer(document, [f"Wrote {output}."])


def _subtask_rows(path: Path) -> list[dict[str, Any]]:
    from moda_keras.experiments import read_rows

    rows = read_rows(path)
    if not rows:
        raise CommandError(f"Expected a file of sub-tasks. Received: {str(path)!r}, without a row")
    return rows
