"""`moda replace`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from moda_keras.cli import files
from moda_keras.cli.class_names import class_indices, read_class_names
from moda_keras.cli.command import Answer
from moda_keras.cli.data import DataArguments, data_of_model, describe, shortened
from moda_keras.cli.errors import CommandError, Interrupted
from moda_keras.cli.options import Force, complete_class
from moda_keras.cli.terminal import figures, percent, progress

if TYPE_CHECKING:
    import keras

    from moda_keras.cli.data import Data
    from moda_keras.modules.module_set import Module

PANEL = "Calibration"


def _option(help: str, metavar: str, **settings: Any) -> Any:
    return typer.Option(help=help, metavar=metavar, rich_help_panel=PANEL, **settings)


@dataclass(frozen=True, kw_only=True)
class CalibrationArguments:
    """How the module is fitted to the weak model; the fields are the options."""

    strategy: Annotated[
        Literal["calibrate", "normalize"],
        _option("calibrate (MODA) or normalize (CNNSplitter).", "NAME"),
    ] = "calibrate"
    epochs: Annotated[int, _option("Epochs of the calibration.", "N", min=1)] = 5
    batch_size: Annotated[int, _option("Images per batch.", "N", min=1)] = 128
    learning_rate: Annotated[float, _option("Initial learning rate.", "X", min=0.0)] = 0.05
    seed: Annotated[int, _option("Seed of the calibration.", "N")] = 0


def replace(
    weak: Annotated[Path, typer.Argument(metavar="WEAK", help="The weak model, a Keras file.")],
    strong: Annotated[
        Path, typer.Argument(metavar="MODULES", help="The modules of a strong model.")
    ],
    strong_class: Annotated[
        str,
        typer.Argument(
            metavar="CLASS", help="The class whose module to take.", autocompletion=complete_class
        ),
    ],
    data: DataArguments,
    calibration: CalibrationArguments,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The model to write (.keras).")
    ],
    target_class: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The weak model's class to replace, a name or an index. Default: the one called "
            "CLASS.",
        ),
    ] = None,
    force: Force = False,
) -> Answer:
    """Replace a class of a weak model by another model's module.

    The data is that of the weak model, its classes in the order of the outputs.

    **Examples**

    ```console
    moda replace weak.keras vgg.modules cat --data photos/ -o patched.keras
    moda replace weak.keras vgg.modules cat --target-class 3 --data photos/ -o p.keras
    ```
    """
    from moda_keras.experiments import target_accuracy

    sources = (weak, strong, *data.files())
    files.check_output(output, force=force, suffix=".keras", sources=sources)
    weak_model, modules = files.load_model(weak), files.load_modules(strong, output)
    outputs = read_class_names(weak)
    loaded = data_of_model(data.load(outputs), weak_model, weak, outputs)
    (index,) = class_indices([strong_class], modules)
    name = modules.class_names[index]
    target = _target(target_class, name, loaded.class_names)
    patched = _patch(weak_model, modules[index], target, loaded, calibration)
    before = target_accuracy(weak_model, loaded, target)
    after = target_accuracy(patched, loaded, target)
    files.write_model(patched, output, loaded.class_names)
    document = {
        "model": str(output),
        "strategy": calibration.strategy,
        "target_class": loaded.class_names[target],
        "strong_class": name,
        "data": describe(loaded),
        "target_before": before[0],
        "target_after": after[0],
        "others_before": before[1],
        "others_after": after[1],
    }
    shown = {
        f"accuracy of {loaded.class_names[target]}": f"{percent(before[0])} -> {percent(after[0])}",
        "accuracy of the others": f"{percent(before[1])} -> {percent(after[1])}",
    }
    return Answer(document, [figures(None, shown), f"Wrote {output}."])


def _patch(
    weak_model: "keras.Model",
    module: "Module",
    target: int,
    data: "Data",
    how: CalibrationArguments,
) -> "keras.Model":
    import keras

    import moda_keras as mk
    from moda_keras.cli.training import TrainingProgress
    from moda_keras.experiments import calibrate

    keras.utils.set_random_seed(how.seed)
    normalizes = how.strategy == "normalize"
    x = data.unaugmented_batches() if normalizes else None
    patched = mk.replace(weak_model, module, target_class=target, strategy=how.strategy, x=x)
    if normalizes:
        return patched
    try:
        with progress("Calibration") as (task,):
            calibrate(
                patched,
                data,
                epochs=how.epochs,
                batch_size=how.batch_size,
                learning_rate=how.learning_rate,
                seed=how.seed,
                callbacks=[TrainingProgress(task)],
            )
    except KeyboardInterrupt as error:
        raise Interrupted("Interrupted. Nothing was written; rerun the command") from error
    return patched


def _target(asked: str | None, strong_name: str, class_names: Sequence[str]) -> int:
    text = strong_name if asked is None else asked
    if text in class_names:
        return class_names.index(text)
    if asked is None:
        raise CommandError(
            f"Expected a class that both models have by name. The weak model has "
            f"{shortened(class_names)}. Received: {text}. Choose one of them with --target-class"
        )
    # Only --target-class may be an index: the name "3" says nothing about another model's order.
    if text.isdecimal() and int(text) < len(class_names):
        return int(text)
    raise CommandError(
        f"Expected --target-class to be one of {shortened(class_names)}, or an index from 0 to "
        f"{len(class_names) - 1}. Received: {text}"
    )
