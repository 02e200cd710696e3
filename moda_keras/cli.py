"""The `moda` command; each sub-command is a thin call of the library."""

from pathlib import Path
from typing import Annotated

try:
    import typer
except ImportError as error:
    raise SystemExit(
        "The `moda` command needs typer and rich: pip install 'moda-keras[cli]'"
    ) from error

app = typer.Typer(no_args_is_help=True, help="Modular neural networks for Keras 3.")


@app.callback()
def _commands() -> None:
    """With a single command, typer would drop its name."""


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Folder of figures and modules.")] = Path("demo"),
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of training.")] = 60,
    seed: Annotated[int, typer.Option(help="Seed of data, weights and sub-tasks.")] = 0,
) -> None:
    """Train on scikit-learn's digits, decompose, compose, replace; tables and figures."""
    from moda_keras.demo import run_demo

    run_demo(output, epochs=epochs, seed=seed)


def main() -> None:
    """Entry point of the `moda` command."""
    app()
