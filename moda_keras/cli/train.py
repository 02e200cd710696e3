"""`moda train`."""

import functools
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moda_keras.cli import files
from moda_keras.cli.class_names import read_class_names
from moda_keras.cli.command import Answer
from moda_keras.cli.data import DataArguments, data_of_model, describe
from moda_keras.cli.errors import Interrupted
from moda_keras.cli.measures import count_parameters, measure_modules, summary_of_modules
from moda_keras.cli.options import Augmentation, Force, Network, Refer, flag, listed
from moda_keras.cli.terminal import figures, percent, progress, say

if TYPE_CHECKING:
    import keras

    from moda_keras.cli.data import Data
    from moda_keras.cli.training_files import TrainingFiles
    from moda_keras.experiments import Recipe
    from moda_keras.modules.module_set import ModuleSet

MODEL = "Model"
RECIPE = "Training"


def _option(help: str, metavar: str, panel: str = RECIPE, **settings: Any) -> Any:
    return typer.Option(help=help, metavar=metavar, rich_help_panel=panel, **settings)


@dataclass(frozen=True, kw_only=True)
class TrainingArguments:
    """What is trained and how; the fields are the options."""

    network: Annotated[Network | None, _option(f"One of {listed(Network)}.", "NAME", MODEL)] = None
    model: Annotated[
        Path | None, _option("A Keras model to train instead of a network.", "FILE", MODEL)
    ] = None
    normalize: Annotated[
        bool | None,
        _option("Put a layer first that normalizes the channels. Default: with --network.", "",
                MODEL),
    ] = None  # fmt: skip
    epochs: Annotated[int, _option("Number of epochs.", "N", min=1)] = 200
    batch_size: Annotated[int, _option("Images per batch.", "N", min=1)] = 128
    learning_rate: Annotated[
        float, _option("Initial rate of SGD (Nesterov momentum 0.9, cosine decay).", "X", min=0.0)
    ] = 0.05
    augment: Annotated[
        Augmentation | None,
        _option(f"{listed(Augmentation)}. Default: what suits the data.", "NAME"),
    ] = None
    alpha: Annotated[float, _option("Weight of affinity.", "X", min=0.0)] = 1.0
    beta: Annotated[float, _option("Weight of dispersion.", "X", min=0.0)] = 1.0
    gamma: Annotated[float, _option("Weight of compactness.", "X", min=0.0)] = 0.3
    standard: Annotated[
        bool, flag("--standard", "Train with cross-entropy alone.", rich_help_panel=RECIPE)
    ] = False
    seed: Annotated[int, _option("Seed of weights and batches.", "N")] = 0

    def recipe(self, augment: str) -> "Recipe":
        """How the model is trained; `augment` is what suits the data."""
        from moda_keras.experiments import Recipe
        from moda_keras.training.moda_loss import MODALoss

        return Recipe(
            self.network or "",
            None if self.standard else (self.alpha, self.beta, self.gamma),
            self.epochs,
            self.batch_size,
            self.learning_rate,
            self.augment or augment,
            self.seed,
            None if self.standard else MODALoss().warmup,
        )

    @property
    def is_normalized(self) -> bool:
        """Whether the model normalizes its input."""
        return self.network is not None if self.normalize is None else self.normalize


def train(
    data: DataArguments,
    training: TrainingArguments,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The model to write (.keras).")
    ],
    threshold: Annotated[
        float, typer.Option(metavar="X", min=0.0, max=1.0, help="tau of the modules.")
    ] = 0.9,
    refer: Refer = False,
    force: Force = False,
    restart: Annotated[bool, flag("--restart", "Discard an interrupted training.")] = False,
) -> Answer:
    """Train a model for modularity, by default with the paper's recipe.

    Writes the model, its modules (.modules) and a log with a row per epoch (.csv). Rerun the
    command to resume a training that was interrupted or killed; if it is done, the command says so.

    **Examples**

    ```console
    moda train --data cifar10/ --network vgg16 -o vgg.keras
    moda train --data digits --image-size 16 --network small_cnn -o d.keras
    moda train --data photos/ --model mine.keras --epochs 30 -o modular.keras
    ```
    """
    import keras

    from moda_keras.claims import claimed
    from moda_keras.cli.training import file_digest
    from moda_keras.cli.training_files import TrainingFiles, as_json

    if (training.network is None) == (training.model is None):
        raise typer.BadParameter(
            f"Choose what to train: --network, one of {listed(Network)}, or --model FILE"
        )
    sources = (training.model, *data.files())
    files.check_output(output, force=True, suffix=".keras", sources=sources)
    with claimed(output):
        state = TrainingFiles(output, force=force, restart=restart)
        for each in (state.modules, state.log, state.state):
            files.check_stays(sources, each)
        record = state.done()
        if record is None:
            state.check()
        digest = None if training.model is None else file_digest(training.model)
        keras.utils.set_random_seed(training.seed)
        names = None if training.model is None else read_class_names(training.model)
        model, loaded = _build(training, data.load(names))
        recipe = training.recipe(loaded.augment)
        settings = as_json(
            {
                **asdict(recipe),
                "model": digest,
                "normalize": training.is_normalized,
                "data": loaded.digest(),
                "backend": keras.backend.backend(),
            }
        )
        if record is not None and record["settings"] == settings:
            return _answer_of(state, threshold, loaded, record)
        state.check()
        if state.begin(settings):
            say(f"Resuming the training from {str(state.state)!r}.")
        log = _fit(model, recipe, loaded, state, settings)
        return _finish(model, loaded, log, threshold, settings, state, refer)


def _build(training: TrainingArguments, data: "Data") -> tuple["keras.Model", "Data"]:
    """The untrained model, and the data with its classes."""
    import moda_keras as mk
    from moda_keras import experiments

    path = training.model
    if path is None:
        model = experiments.build_network(training.network, data.image_shape, len(data.class_names))
    else:
        model, names = files.load_model(path), read_class_names(path)
        # A model may also learn other classes than before.
        is_known = names is not None and set(names) <= set(data.class_names)
        data = data_of_model(data, model, path, names if is_known else None)
    if training.is_normalized:
        model = experiments.with_normalization(model, *data.channel_statistics)
    return mk.ModularModel.from_model(model), data


def _fit(
    model: "keras.Model",
    recipe: "Recipe",
    data: "Data",
    state: "TrainingFiles",
    settings: dict[str, Any],
) -> list[dict[str, Any]]:
    from moda_keras.cli.training import StopAfterEpoch, TrainingProgress
    from moda_keras.experiments import fit_by_recipe

    try:
        with StopAfterEpoch() as stop, progress("Training") as (task,):
            callbacks = [TrainingProgress(task), stop]
            return fit_by_recipe(model, recipe, data, state.stem, callbacks, settings)
    except KeyboardInterrupt as error:
        done = state.epochs
        kept = (
            f"{done} of {recipe.epochs} epochs are in {str(state.state)!r}"
            if done
            else "No epoch was complete"
        )
        raise Interrupted(f"Interrupted. {kept}. Rerun the command to resume") from error


def _finish(
    model: "keras.Model",
    data: "Data",
    log: list[dict[str, Any]],
    threshold: float,
    settings: dict[str, Any],
    state: "TrainingFiles",
    refer: bool,
) -> Answer:
    import moda_keras as mk
    from moda_keras.cli.training_files import add_record

    _, accuracy, *_ = model.evaluate(data.test_batches(), verbose=0)
    modules = mk.decompose(
        model,
        data.unaugmented_batches(),
        threshold=threshold,
        class_names=data.class_names,
        verbose=0,
    )
    record = {
        "settings": settings,
        "epochs": len(log),
        "seconds": sum(row["seconds"] for row in log),
        "test_accuracy": float(accuracy),
    }
    add = functools.partial(add_record, record=record)
    files.write_model(model, state.output, data.class_names, add=add)
    modules.save(state.modules, overwrite=True, model_file=state.output if refer else None)
    state.remove()
    wrote = f"Wrote {state.output}, {state.modules} and {state.log}."
    return _answer(state, data, modules, record, wrote)


def _answer_of(
    state: "TrainingFiles", threshold: float, data: "Data", record: dict[str, Any]
) -> Answer:
    """The answer of a training that is done: nothing is written."""
    modules = files.load_modules(state.modules)
    if modules.threshold != threshold:
        state.check()  # the same training, but other modules are asked for: the file exists
    files_there = f"{state.output}, {state.modules} and {state.log}"
    done = f"This training is done already: {files_there} are there. Pass --force to repeat it."
    return _answer(state, data, modules, record, done)


def _answer(
    state: "TrainingFiles", data: "Data", modules: "ModuleSet", record: dict[str, Any], last: str
) -> Answer:
    measured = measure_modules(modules)
    document = {
        "model": str(state.output),
        "modules": str(state.modules),
        "log": str(state.log),
        "data": describe(data),
        "epochs": record["epochs"],
        "seconds": record["seconds"],
        "test_accuracy": record["test_accuracy"],
        "parameters": count_parameters(modules.model),
        **measured,
    }
    shown = {
        "test accuracy": percent(record["test_accuracy"]),
        "epochs": f"{record['epochs']}, in {record['seconds']:.1f} s",
        "parameters": f"{document['parameters']:,}",
        **summary_of_modules(measured),
    }
    return Answer(document, [figures(None, shown), last])
