"""`moda compose`."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moda_keras.cli import files
from moda_keras.cli.calibration import CalibrationArguments
from moda_keras.cli.class_names import class_indices, free_name
from moda_keras.cli.command import Answer
from moda_keras.cli.formats import check_model_output, output_format, write_composed
from moda_keras.cli.measures import count_flops, count_parameters, grouped, share_of_flops
from moda_keras.cli.options import Force, Format, complete_class, flag, listed
from moda_keras.cli.terminal import figures, percent, working

if TYPE_CHECKING:
    import keras

    from moda_keras.modules.module_set import ModuleSet


def compose(
    modules: Annotated[Path, typer.Argument(metavar="MODULES", help="A module file.")],
    classes: Annotated[
        list[str],
        typer.Argument(
            metavar="CLASSES",
            help="Names or indices, in the order of the outputs.",
            autocompletion=complete_class,
        ),
    ],
    calibration: CalibrationArguments,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The model to write.")
    ],
    format: Annotated[
        Format | None,
        typer.Option(
            metavar="NAME", help=f"{listed(Format)}. Default: by the suffix of the output."
        ),
    ] = None,
    size: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="Of modules by importance: keep the most important units, within this share of "
            "the model's parameters, in (0, 1].",
        ),
    ] = None,
    align: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="Round numbers of channels up to a multiple of N."),
    ] = 1,
    other: Annotated[
        bool, flag("--other", "Add a last output for images of none of these classes.")
    ] = False,
    force: Force = False,
) -> Answer:
    """Build the small model of some classes, without retraining.

    Classes are separated by spaces or commas. Names come before indices: where classes are called
    "3" and "8", 3 is the class "3". The model file carries the names of its classes. The output of
    --other is called "other", or "other_1" if a class has that name. Models that were not trained
    for modularity need --size, for modules of moda decompose --criterion importance, and --data:
    the weights that stay are refitted to samples of the classes ("repair").

    **Examples**

    ```console
    moda compose vgg.modules cat dog horse -o pets.keras
    moda compose vgg.modules 3,5,7 -o pets.onnx
    moda compose vgg.modules cat dog --other -o cat_or_dog.keras
    moda compose vgg.modules cat dog --format tf_saved_model -o pets
    moda compose by_importance.modules cat dog --size 0.3 --data photos/ -o repaired.keras
    ```
    """
    import moda_keras as mk

    how = output_format(format, output)
    check_model_output(output, how, force=force, sources=(modules, *calibration.files()))
    calibration.check()
    loaded = files.load_modules(modules, output)
    chosen = class_indices(classes, loaded)
    _check_size(size, loaded)
    x = calibration.read(loaded, modules, chosen)
    loaded = loaded if size is None else _within(loaded, size, chosen, x)
    with contextlib.nullcontext() if x is None else working("Repairing"):
        small = mk.compose(loaded, chosen, align=align, other=other, calibration_data=x, verbose=0)
    names = [loaded.class_names[index] for index in chosen]
    name_of_other = free_name("other", loaded.class_names) if other else None
    write_composed(small, output, how, names, name_of_other, force=force)
    document = {"model": str(output), "format": how, "classes": names}
    document["repaired_with"] = 0 if x is None else len(x)
    figures_of_model, shown = _compare(small, loaded.model, names)
    if x is not None:
        shown["repaired with"] = f"{len(x):,} samples"
    if other:
        document["other"] = shown["none of these"] = name_of_other
    return Answer(document | figures_of_model, [figures(None, shown), f"Wrote {output}."])


def _check_size(size: float | None, modules: "ModuleSet") -> None:
    if size is None:
        return
    if not 0 < size <= 1:
        raise typer.BadParameter(f"Expected --size in (0, 1]. Received: {size}")
    if modules.importance is None:
        raise typer.BadParameter(
            "Expected modules by importance with --size. Received: modules of the criterion "
            f"{modules.criterion!r}. Find them with: moda decompose --criterion importance"
        )


def _within(modules: "ModuleSet", size: float, classes: list[int], x: Any) -> "ModuleSet":
    """The most important units within a share of the parameters."""
    from moda_keras.tuning.budget import UnmetBudgetError

    try:
        with working("Choosing units"):
            return modules.within(parameters=size, classes=classes, calibration_data=x, verbose=0)
    except UnmetBudgetError as error:
        raise UnmetBudgetError(f"--size {size:g}", error.least, error.classes) from None


def _compare(
    small: "keras.Model", whole: "keras.Model", names: list[str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Size and cost of a composed model, for programs and for people."""
    parameters, of = count_parameters(small), count_parameters(whole)
    flops, of_flops = count_flops(small), count_flops(whole)
    share = share_of_flops(small, whole)
    document = {
        "parameters": parameters,
        "size": parameters / of,
        "flops": flops,
        "flops_share": share,
    }
    shown = {
        "classes": ", ".join(names),
        "parameters": f"{parameters:,} of {of:,}: {percent(parameters / of)}",
        "multiply-accumulates": f"{grouped(flops)} of {grouped(of_flops)}: {percent(share)}",
    }
    return document, shown
