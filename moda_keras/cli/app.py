"""The commands, and the options before them."""

import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from moda_keras.cli import command, terminal, user_modules
from moda_keras.cli.compose import compose
from moda_keras.cli.decompose import decompose
from moda_keras.cli.demo import demo
from moda_keras.cli.evaluate import evaluate
from moda_keras.cli.experiment import experiment
from moda_keras.cli.info import info
from moda_keras.cli.options import Backend, flag, join_lists
from moda_keras.cli.replace import replace
from moda_keras.cli.report import report
from moda_keras.cli.slim import slim
from moda_keras.cli.train import train
from moda_keras.cli.tune import tune


class _Group(TyperGroup):
    """Commands whose usage errors are one line, or one JSON document."""

    def main(self, args: Sequence[str] | None = None, **settings: Any) -> None:
        args = join_lists(sys.argv[1:] if args is None else args)
        try:
            code = super().main(args, **{**settings, "standalone_mode": False})
        except Exception as error:
            if not hasattr(error, "format_message"):  # not one of typer's
                raise
            self._report(error, "--json" in args)
            code = error.exit_code
        sys.exit(code)

    def _report(self, error: Any, as_json: bool) -> None:
        message = " ".join((error.format_message() or "").split())
        if not message:
            return  # the help was shown
        if as_json:
            terminal.print_json({"error": {"type": "UsageError", "message": message}})
            return
        path = error.ctx.command_path if getattr(error, "ctx", None) else self.name
        terminal.say(f"Error: {message.rstrip('.')}. See: {path} --help", style="red")


app = typer.Typer(
    name="moda",
    cls=_Group,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    # Unexpected errors are one line too; --debug shows Python's own traceback.
    pretty_exceptions_enable=False,
)
COMMANDS = (
    train, decompose, tune, compose, slim, replace, evaluate, experiment, report, info, demo,
)  # fmt: skip
READ_NO_MODELS = (experiment, demo)
for each in COMMANDS:
    app.command()(command.command(each, reads_models=each not in READ_NO_MODELS))


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"moda_keras {metadata.version('moda-keras')}")
        raise typer.Exit


@app.callback()
def _before_commands(
    backend: Annotated[
        Backend | None,
        typer.Option(
            metavar="NAME",
            help="Keras's backend: torch, tensorflow or jax. By default the one that KERAS_BACKEND "
            "or Keras's configuration names.",
        ),
    ] = None,
    imports: Annotated[
        list[str] | None,
        typer.Option(
            "--import",
            metavar="MODULE",
            help="Import a Python file (layers.py) or module first, such as one that registers the "
            "layers of a model with Keras. Its code runs. May be given several times.",
        ),
    ] = None,
    debug: Annotated[bool, flag("--debug", "Show errors with their traceback.")] = False,
    version: Annotated[
        bool, flag("--version", "Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Modular neural networks for Keras 3.

    Train a model for modularity, decompose it into one module per class, compose any classes into a
    small model, replace a class of a weak model.

    Exit codes: 0 success, 1 failure, 2 usage error, 130 interrupted by Ctrl-C.
    """
    command.backend.set(backend)
    command.debug.set(debug)
    user_modules.asked.set(tuple(imports or ()))


def main() -> None:
    """Entry point of the `moda` command."""
    app()
