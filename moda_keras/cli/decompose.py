"""`moda decompose`."""

from pathlib import Path
from typing import Annotated

import typer

from moda_keras.cli import files
from moda_keras.cli.command import Answer
from moda_keras.cli.data import DataArguments, check_classes, check_images, describe
from moda_keras.cli.measures import measure_modules, summary_of_modules, units_table
from moda_keras.cli.terminal import figures


def decompose(
    model: Annotated[Path, typer.Argument(help="A Keras model, modular or not.")],
    data: DataArguments,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The module file to write, FILE.modules.")
    ],
    threshold: Annotated[
        float,
        typer.Option(
            min=0.0, max=1.0, help="tau: share of a class's samples that must activate a unit."
        ),
    ] = 0.9,
    epsilon: Annotated[
        str,
        typer.Option(
            help="Magnitude from which a unit of GELU, tanh and the like is active; auto chooses "
            "it from the data."
        ),
    ] = "0.001",
    batch_size: Annotated[int, typer.Option(min=1)] = 256,
    force: files.Force = False,
) -> Answer:
    """Find the modules of a trained model, in one pass over its training data.

    **Examples**

    ```console
    moda decompose vgg.keras --data cifar10/ --threshold 0.8 -o vgg.modules
    moda decompose gelu.keras --data photos/ --epsilon auto -o gelu.modules
    ```
    """
    import moda_keras as mk

    files.check_output(output, force=force)
    trained, loaded = files.load_model(model), data.load()
    check_images(trained, loaded, model)
    check_classes(trained, loaded, model)
    modules = mk.decompose(
        trained,
        loaded.unaugmented_batches(batch_size),
        threshold=threshold,
        class_names=loaded.class_names,
        epsilon=_epsilon(epsilon, trained, loaded.unaugmented_batches(batch_size)),
        verbose=0,
    )
    modules.save(output, overwrite=force)
    measured = measure_modules(modules)
    document = {
        "modules": str(output),
        "data": describe(loaded),
        "epsilons": modules.epsilons,
        **measured,
    }
    shown = [units_table(modules), figures(None, summary_of_modules(measured)), f"Wrote {output}."]
    return Answer(document, shown)


def _epsilon(text: str, model: object, x: object) -> float | dict[str, float]:
    import moda_keras as mk

    if text == "auto":
        return mk.choose_epsilons(model, x, verbose=0)
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(
            f"Expected --epsilon to be a number or auto. Received: {text}"
        ) from None
