"""The commands, and the options that come before them."""

import sys
from importlib import metadata
from typing import Annotated

import typer

from moda_keras.cli import command, terminal
from moda_keras.cli.completion import complete_backend
from moda_keras.cli.compose import compose
from moda_keras.cli.decompose import decompose
from moda_keras.cli.demo import demo
from moda_keras.cli.evaluate import evaluate
from moda_keras.cli.experiment import experiment
from moda_keras.cli.info import info
from moda_keras.cli.replace import replace
from moda_keras.cli.report import report
from moda_keras.cli.train import train
from moda_keras.cli.tune import tune

app = typer.Typer(
    name="moda",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    # Errors that nobody foresaw are one line too; --debug gives Python's own traceback.
    pretty_exceptions_enable=False,
)
COMMANDS = (
    train, decompose, tune, compose, replace, evaluate, experiment, report, info, demo,
)  # fmt: skip
for each in COMMANDS:
    app.command()(command.command(each))


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"moda_keras {metadata.version('moda-keras')}")
        raise typer.Exit


@app.callback()
def _before_commands(
    backend: Annotated[
        str | None,
        typer.Option(
            help="Keras's backend: torch, tensorflow or jax; by default what KERAS_BACKEND or "
            "Keras's configuration says.",
            autocompletion=complete_backend,
        ),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show errors with a traceback.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    """Modular neural networks for Keras 3.

    Train a model for modularity, decompose it into one module per class, compose any classes into a
    slim model, replace a weak model's class.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted by Ctrl-C.
    """
    command.backend.set(backend)
    command.debug.set(debug)


def main() -> None:
    """Entry point of the `moda` command."""
    if "--json" not in sys.argv:
        app()
    try:
        code = app(standalone_mode=False)
    except Exception as error:  # wrong usage, which typer tells people, not programs
        if not hasattr(error, "format_message"):
            raise
        message = " ".join(error.format_message().split())
        terminal.print_json({"error": {"type": "UsageError", "message": message}})
        code = error.exit_code
    sys.exit(code)
