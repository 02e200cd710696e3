"""`moda demo`."""

from pathlib import Path
from typing import Annotated

import typer

from moda_keras.cli import files
from moda_keras.cli.command import Answer
from moda_keras.cli.measures import measure_modules
from moda_keras.cli.options import Force

# What the demo writes into its folder.
FILES = ("digits.modules", "overlap.png", "shared_units.png", "subtasks.png")


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of figures and modules.")
    ] = Path("demo"),
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of training.")] = 60,
    seed: Annotated[int, typer.Option(help="Seed of data, weights and sub-tasks.")] = 0,
    force: Force = False,
) -> Answer:
    """Train on scikit-learn's digits, decompose, compose, replace; tables and figures.

    **Example**

    ```console
    moda demo --epochs 20 -o demo
    ```
    """
    from moda_keras.experiments.demo import run_demo

    for name in FILES:
        files.check_output(output / name, force=force)
    models = run_demo(output, epochs=epochs, seed=seed)
    document = {
        "output": str(output),
        "models": {
            name: {"accuracy": trained.accuracy, **measure_modules(trained.modules)}
            for name, trained in models.items()
        },
    }
    return Answer(document)
