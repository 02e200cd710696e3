"""`moda decompose`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moda_keras.cli import files
from moda_keras.cli.class_names import read_class_names
from moda_keras.cli.command import Answer
from moda_keras.cli.data import DataArguments, data_of_model, describe
from moda_keras.cli.measures import measure_modules, summary_of_modules, units_table
from moda_keras.cli.options import CriterionName, Force, Refer, listed
from moda_keras.cli.terminal import figures, progress

if TYPE_CHECKING:
    from moda_keras.modules.module_set import ModuleSet


def decompose(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A trained Keras model.")],
    data: DataArguments,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="The module file to write."),
    ],
    threshold: Annotated[
        float,
        typer.Option(
            metavar="X",
            min=0.0,
            max=1.0,
            help="tau: share of a class's images that must activate a unit.",
        ),
    ] = 0.9,
    epsilon: Annotated[
        str,
        typer.Option(
            metavar="X",
            help="Magnitude above which a unit of GELU, tanh and the like is active; auto chooses "
            "it from the data.",
        ),
    ] = "auto",
    criterion: Annotated[
        CriterionName,
        typer.Option(
            metavar="NAME",
            help=f"{listed(CriterionName)}. The last two measure more, for moda compose --size.",
        ),
    ] = "frequency",
    batch_size: Annotated[int, typer.Option(metavar="N", min=1, help="Images per batch.")] = 256,
    refer: Refer = False,
    force: Force = False,
) -> Answer:
    """Find the modules of a trained model, in one pass over its training data.

    **Examples**

    ```console
    moda decompose vgg.keras --data cifar10/ --threshold 0.8 -o vgg.modules
    moda decompose vgg.keras --data cifar10/ --refer -o vgg.modules
    moda decompose gelu.keras --data photos/ --epsilon 0.01 -o gelu.modules
    moda decompose trained.keras --data photos/ --criterion importance -o by_importance.modules
    ```
    """
    import moda_keras as mk
    from moda_keras.cli.training import ReportedBatches

    files.check_output(output, force=force, sources=(model, *data.files()))
    chosen = _epsilon(epsilon)
    if refer:
        files.check_reference(model)
    trained = files.load_model(model)
    outputs = read_class_names(model)
    loaded = data_of_model(data.load(outputs), trained, model, outputs)
    with progress("Decomposing") as (task,):
        modules = mk.decompose(
            trained,
            ReportedBatches(loaded.unaugmented_batches(batch_size), task),
            threshold=threshold,
            class_names=loaded.class_names,
            epsilon=chosen,
            criterion=criterion,
            verbose=0,
        )
    modules.save(output, overwrite=force, model_file=model if refer else None)
    return _answer(modules, describe(loaded), output)


def _answer(modules: "ModuleSet", data: dict[str, Any], output: Path) -> Answer:
    measured = measure_modules(modules)
    document = {
        "modules": str(output),
        "data": data,
        "epsilons": modules.epsilons,
        "criterion": modules.criterion,
        **measured,
    }
    shown = [units_table(modules), figures(None, summary_of_modules(measured)), f"Wrote {output}."]
    return Answer(document, shown)


def _epsilon(text: str) -> float | str:
    try:
        return text if text == "auto" else float(text)
    except ValueError:
        raise typer.BadParameter(
            f"Expected --epsilon to be a number or auto. Received: {text}"
        ) from None
