"""`moda replace`."""

from pathlib import Path
from typing import Annotated

import typer

from moda_keras.cli import files
from moda_keras.cli.choices import require_choice
from moda_keras.cli.command import Answer
from moda_keras.cli.completion import complete_class
from moda_keras.cli.data import (
    DataArguments,
    check_classes,
    check_images,
    describe,
    shortened,
)
from moda_keras.cli.errors import CommandError, Interrupted
from moda_keras.cli.names import class_indices
from moda_keras.cli.progress import progress
from moda_keras.cli.terminal import figures, percent

STRATEGIES = ("calibrate", "normalize")


def replace(
    weak: Annotated[Path, typer.Argument(help="The weak model, a Keras file.")],
    strong: Annotated[Path, typer.Argument(help="The modules of a strong model.")],
    strong_class: Annotated[
        str,
        typer.Argument(
            metavar="CLASS", help="Which of its modules to take.", autocompletion=complete_class
        ),
    ],
    data: DataArguments,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The model file to write, MODEL.keras.")
    ],
    target_class: Annotated[
        str | None,
        typer.Option(
            help="The weak model's class to replace, a name of the data or an index; by default "
            "the one with the name of CLASS."
        ),
    ] = None,
    strategy: Annotated[
        str, typer.Option(help="calibrate (MODA) or normalize (CNNSplitter).")
    ] = "calibrate",
    epochs: Annotated[int, typer.Option(min=1, help="Of the calibration.")] = 5,
    batch_size: Annotated[int, typer.Option(min=1)] = 128,
    learning_rate: Annotated[float, typer.Option(min=0.0)] = 0.05,
    seed: Annotated[int, typer.Option(help="Of the order of samples.")] = 0,
    force: files.Force = False,
) -> Answer:
    """Give a weak model another model's module for one class.

    The data is the weak model's: its classes, in the order of its outputs.

    **Examples**

    ```console
    moda replace weak.keras vgg.modules cat --data photos/ -o patched.keras
    moda replace weak.keras vgg.modules cat --target-class 3 --data photos/ -o p.keras
    ```
    """
    import keras

    import moda_keras as mk
    from moda_keras.experiments import calibrate, target_accuracy

    require_choice("--strategy", strategy, STRATEGIES)
    files.check_output(output, force=force, suffix=".keras")
    weak_model, modules, loaded = files.load_model(weak), files.load_modules(strong), data.load()
    check_images(weak_model, loaded, weak)
    check_classes(weak_model, loaded, weak)
    (index,) = class_indices([strong_class], modules)
    name = modules.class_names[index]
    target = _target(target_class, name, loaded.class_names)
    keras.utils.set_random_seed(seed)
    patched = mk.replace(
        weak_model,
        modules[index],
        target_class=target,
        strategy=strategy,
        x=loaded.unaugmented_batches() if strategy == "normalize" else None,
    )
    if strategy == "calibrate":
        with progress("Calibration") as (task,):
            _calibrate(calibrate, patched, loaded, task, epochs, batch_size, learning_rate, seed)
    before = target_accuracy(weak_model, loaded, target)
    after = target_accuracy(patched, loaded, target)
    files.write_model(patched, output)
    document = {
        "model": str(output),
        "strategy": strategy,
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


def _calibrate(calibrate, model, data, task, epochs, batch_size, learning_rate, seed) -> None:
    from moda_keras.cli.training_callbacks import TrainingProgress

    try:
        calibrate(
            model,
            data,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            seed=seed,
            callbacks=[TrainingProgress(task)],
        )
    except KeyboardInterrupt as error:
        raise Interrupted("Interrupted. Nothing was written: begin anew") from error


def _target(asked: str | None, strong_name: str, class_names: tuple[str, ...]) -> int:
    text = strong_name if asked is None else asked
    if text in class_names:
        return class_names.index(text)
    if asked is None:
        raise CommandError(
            f"Expected a class that both models have by name; the weak model's are "
            f"{shortened(class_names)}. Received: {text}. Pass --target-class to say which of them "
            f"to replace"
        )
    # Only what is typed may be an index: a name such as "3" says nothing about another's order.
    if text.isdecimal() and int(text) < len(class_names):
        return int(text)
    raise CommandError(
        f"Expected --target-class to be one of {', '.join(class_names)}, or an index from 0 to "
        f"{len(class_names) - 1}. Received: {text}"
    )
