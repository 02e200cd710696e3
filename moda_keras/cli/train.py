"""`moda train`."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moda_keras.cli import files
from moda_keras.cli.choices import require_choice
from moda_keras.cli.command import Answer
from moda_keras.cli.completion import (
    AUGMENTATIONS,
    NETWORKS,
    complete_augmentation,
    complete_network,
)
from moda_keras.cli.data import DataArguments, check_classes, check_images, describe
from moda_keras.cli.errors import CommandError, Interrupted
from moda_keras.cli.measures import count_parameters, measure_modules, summary_of_modules
from moda_keras.cli.progress import progress
from moda_keras.cli.terminal import figures, percent, say
from moda_keras.cli.training_state import TrainingState, file_digest

if TYPE_CHECKING:
    import keras

    from moda_keras.cli.data import Data
    from moda_keras.experiments import Recipe

MODEL = "What is trained"
RECIPE = "How it is trained"


def train(
    data: DataArguments,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The model file to write, MODEL.keras.")
    ],
    network: Annotated[
        str | None,
        typer.Option(
            help=f"One of {', '.join(NETWORKS)}.",
            autocompletion=complete_network,
            rich_help_panel=MODEL,
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(help="Or a Keras model of your own, to train on.", rich_help_panel=MODEL),
    ] = None,
    normalize: Annotated[
        bool | None,
        typer.Option(
            help="Whether the model begins with a layer that normalizes the channels; by default "
            "with --network.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, rich_help_panel=RECIPE)] = 200,
    batch_size: Annotated[int, typer.Option(min=1, rich_help_panel=RECIPE)] = 128,
    learning_rate: Annotated[
        float,
        typer.Option(
            min=0.0,
            help="At the beginning; SGD, Nesterov momentum 0.9, cosine decay.",
            rich_help_panel=RECIPE,
        ),
    ] = 0.05,
    augment: Annotated[
        str | None,
        typer.Option(
            help=f"{', '.join(AUGMENTATIONS)}; by default what suits the data.",
            autocompletion=complete_augmentation,
            rich_help_panel=RECIPE,
        ),
    ] = None,
    alpha: Annotated[
        float, typer.Option(min=0.0, help="Weight of affinity.", rich_help_panel=RECIPE)
    ] = 1.0,
    beta: Annotated[
        float, typer.Option(min=0.0, help="Weight of dispersion.", rich_help_panel=RECIPE)
    ] = 1.0,
    gamma: Annotated[
        float, typer.Option(min=0.0, help="Weight of compactness.", rich_help_panel=RECIPE)
    ] = 0.3,
    standard: Annotated[
        bool,
        typer.Option("--standard", help="Train with cross-entropy alone.", rich_help_panel=RECIPE),
    ] = False,
    seed: Annotated[int, typer.Option(help="Of weights and batches.", rich_help_panel=RECIPE)] = 0,
    threshold: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="tau of the modules that are written too.")
    ] = 0.9,
    force: files.Force = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Forget a training that was interrupted.")
    ] = False,
) -> Answer:
    """Train a model for modularity; the papers' recipe by default.

    Writes the model, its modules (MODEL.modules) and a row for each epoch (MODEL.csv). A training
    that was interrupted or killed goes on when the same command is given again.

    **Examples**

    ```console
    moda train --data cifar10/ --network vgg16 -o vgg.keras
    moda train --data digits --image-size 16 --network small_cnn -o d.keras
    moda train --data photos/ --model mine.keras --epochs 30 -o modular.keras
    ```
    """
    import keras

    from moda_keras import experiments

    if (network is None) == (model is None):
        raise typer.BadParameter(
            f"Choose what to train: --network, one of {', '.join(NETWORKS)}, or --model FILE"
        )
    require_choice("--network", network, NETWORKS)
    require_choice("--augment", augment, AUGMENTATIONS)
    modules_path = output.with_suffix(".modules")
    state = TrainingState(output)
    # A training that was killed between its two writes left the first of them: it may go on.
    replaces = force or (state.can_go_on and not restart)
    files.check_output(output, force=replaces, suffix=".keras")
    files.check_output(modules_path, force=replaces)
    state.check(force=force)
    weights = None if standard else (alpha, beta, gamma)
    loaded = data.load()
    augment = augment or loaded.augment
    recipe = experiments.Recipe(
        network or "", weights, epochs, batch_size, learning_rate, augment, seed
    )
    is_normalized = network is not None if normalize is None else normalize
    settings = {
        **asdict(recipe),
        "model": None if model is None else file_digest_of(model),
        "normalize": is_normalized,
        "data": loaded.digest(),
        "backend": keras.backend.backend(),
    }
    keras.utils.set_random_seed(seed)
    untrained = _build(network, model, loaded, is_normalized)
    if restart:
        state.remove()
    if state.begin(settings):
        say(f"Going on with the training that {str(state.backup)!r} is the state of.")
    log = _fit(untrained, recipe, loaded, state)
    return _finish(untrained, loaded, log, threshold, output, modules_path, state)


def file_digest_of(model: Path) -> str:
    """The digest of a model file; a `CommandError` if there is none."""
    if not model.is_file():
        raise CommandError(f"There is no file {str(model)!r}")
    return file_digest(model)


def _build(
    network: str | None, model: Path | None, data: "Data", is_normalized: bool
) -> "keras.Model":
    import moda_keras as mk
    from moda_keras import experiments

    if model is None:
        shape, classes = data.image_shape, len(data.class_names)
        found = experiments.build_network(network, shape, classes)
    else:
        found = files.load_model(model)
        check_images(found, data, model)
        check_classes(found, data, model)
    if is_normalized:
        found = experiments.with_normalization(found, *data.channel_statistics)
    return mk.ModularModel.from_model(found)


def _fit(
    model: "keras.Model", recipe: "Recipe", data: "Data", state: TrainingState
) -> list[dict[str, Any]]:
    from moda_keras.cli.training_callbacks import StopAfterEpoch, TrainingProgress
    from moda_keras.experiments import fit_by_recipe

    try:
        with StopAfterEpoch() as stop, progress("Training") as (task,):
            callbacks = [TrainingProgress(task), stop]
            return fit_by_recipe(model, recipe, data, state.stem, callbacks)
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"Interrupted. The state is in {str(state.backup)!r}: the same command goes on from "
            "the last complete epoch"
        ) from error


def _finish(
    model: "keras.Model",
    data: "Data",
    log: list[dict[str, Any]],
    threshold: float,
    output: Path,
    modules_path: Path,
    state: TrainingState,
) -> Answer:
    import moda_keras as mk

    _, accuracy, *_ = model.evaluate(data.test_batches(), verbose=0)
    modules = mk.decompose(
        model,
        data.unaugmented_batches(),
        threshold=threshold,
        class_names=data.class_names,
        verbose=0,
    )
    files.write_model(model, output)
    modules.save(modules_path, overwrite=True)
    state.remove()
    measured = measure_modules(modules)
    seconds = sum(row["seconds"] for row in log)
    document = {
        "model": str(output),
        "modules": str(modules_path),
        "log": str(state.log),
        "data": describe(data),
        "epochs": len(log),
        "seconds": seconds,
        "test_accuracy": float(accuracy),
        "parameters": count_parameters(model),
        **measured,
    }
    shown = {
        "test accuracy": percent(accuracy),
        "epochs": f"{len(log)}, in {seconds:.1f} s",
        "parameters": f"{document['parameters']:,}",
        **summary_of_modules(measured),
    }
    wrote = f"Wrote {output}, {modules_path} and {state.log}."
    return Answer(document, [figures(None, shown), wrote])
