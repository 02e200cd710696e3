"""`moda tune`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from moda_keras.cli import files
from moda_keras.cli.command import Answer
from moda_keras.cli.data import DataArguments, data_of_model
from moda_keras.cli.errors import CommandError
from moda_keras.cli.measures import measure_modules, summary_of_modules
from moda_keras.cli.options import Force, Refer, flag
from moda_keras.cli.terminal import rows_table, working


def tune(
    modules: Annotated[Path, typer.Argument(metavar="MODULES", help="A module file.")],
    data: DataArguments,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The module file to write.")
    ],
    max_accuracy_loss: Annotated[
        float,
        typer.Option(
            metavar="X",
            min=0.0,
            max=1.0,
            help="Accuracy that composed models may lose to the full model.",
        ),
    ] = 0.01,
    per_layer: Annotated[
        bool, flag("--per-layer", "Choose a tau for each hidden activation.")
    ] = False,
    on: Annotated[
        Literal["train", "test"],
        typer.Option(
            metavar="NAME",
            help="train or test: the images to choose by. Accuracy measured on them later is "
            "optimistic.",
        ),
    ] = "train",
    refer: Refer = False,
    force: Force = False,
) -> Answer:
    """Choose tau: the smallest modules within a loss of accuracy.

    Needs no new pass over the training data, only images to measure accuracy on. They are read into
    memory; a few hundred are enough (--samples-per-class).

    **Examples**

    ```console
    moda tune vgg.modules --data cifar10/ --samples-per-class 100 -o small.modules
    moda tune vgg.modules --data photos/ --on test --per-layer -o small.modules
    ```
    """
    files.check_output(output, force=force, sources=(modules, *data.files()))
    loaded = files.load_modules(modules, output)
    model_file = _referred_model(modules) if refer else None
    images = data_of_model(data.load(loaded.class_names), loaded.model, modules, loaded.class_names)
    with working("Choosing tau"):
        x = images.x_train if on == "train" else images.x_test
        y = images.y_train if on == "train" else images.y_test
        tuned = loaded.tune_threshold(x, y, max_accuracy_loss, per_layer=per_layer)
    tuned.save(output, overwrite=force, model_file=model_file)
    before, after = measure_modules(loaded), measure_modules(tuned)
    document = {"modules": str(output), "before": before, **after}
    first, second = summary_of_modules(before), summary_of_modules(after)
    rows = [(name, first[name], second[name]) for name in first]
    return Answer(document, [rows_table(None, ("", "before", "after"), rows), f"Wrote {output}."])


def _referred_model(modules: Path) -> Path:
    found = files.referred_model(modules)
    if found is None:
        raise CommandError(
            f"Expected a module file that refers to a model file. Received: {str(modules)!r}, "
            "which holds its model itself. Leave out --refer"
        )
    return found
