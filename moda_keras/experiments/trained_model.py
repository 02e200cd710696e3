"""Models that are trained once, resumably, and kept in the output folder."""

import dataclasses
import hashlib
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import keras

from moda_keras.datasets import Dataset
from moda_keras.decomposition import decompose
from moda_keras.experiments.batches import EpochBatches
from moda_keras.experiments.networks import build_network
from moda_keras.experiments.results import ResultsFile, replace_file
from moda_keras.losses import MODALoss
from moda_keras.modular_model import ModularModel
from moda_keras.module_file import load_modules
from moda_keras.module_set import ModuleSet


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    Attributes:
        network: Name out of `NETWORKS`.
        weights: alpha, beta and gamma; None for standard training.
        epochs, batch_size, learning_rate: Of SGD with Nesterov momentum 0.9 and cosine decay.
        augment: As of `EpochBatches`.
        seed: Seed of weights and batches.
    """

    network: str
    weights: tuple[float, float, float] | None = None
    epochs: int = 200
    batch_size: int = 128
    learning_rate: float = 0.05
    augment: str = "crop_flip"
    seed: int = 0


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A trained model with its modules.

    Attributes:
        modules: Its modules at tau 0.9; the model is `modules.model`.
        accuracy: Test accuracy.
        seconds: Wall-clock time of its epochs.
        name: Tells it from others; of its files.
    """

    modules: ModuleSet
    accuracy: float
    seconds: float
    name: str


def train_model(recipe: Recipe, data: Dataset, folder: str | Path) -> TrainedModel:
    """Trains and decomposes a model, or loads the one that was trained by the same recipe.

    Training that was killed goes on from its last complete epoch, to the same result as far as the
    backend is deterministic.

    Args:
        recipe: How.
        data: Training and test images.
        folder: Where models are kept.

    Returns:
        A `TrainedModel`.
    """
    name = f"{recipe.network}-{_method(recipe)}-seed{recipe.seed}-{_digest(recipe, data)}"
    path = Path(folder) / name
    done = path.with_suffix(".json")
    if not done.exists():
        _train(recipe, data, path)
    figures = json.loads(done.read_text())
    modules = load_modules(path.with_suffix(".modules"))
    return TrainedModel(modules, figures["accuracy"], figures["seconds"], name)


def compile_by_recipe(
    model: keras.Model, *, learning_rate: float, steps: int, **arguments: object
) -> None:
    """Compiles a model as the papers train: SGD, Nesterov momentum 0.9, cosine decay.

    Args:
        model: A model with logits out.
        learning_rate: At the beginning.
        steps: Number of steps of the training.
        **arguments: Further arguments of `compile`.
    """
    schedule = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    model.compile(
        keras.optimizers.SGD(schedule, momentum=0.9, nesterov=True),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        **arguments,
    )


def _train(recipe: Recipe, data: Dataset, path: Path) -> None:
    """Leaves the modules, and last the figures, beside `path`."""
    backup, log = path.with_suffix(".backup"), _EpochLog(path.with_suffix(".csv"))
    model = _fit(recipe, data, backup, log)
    _, accuracy, *_ = model.evaluate(data.x_test, data.y_test, batch_size=256, verbose=0)
    modules = decompose(
        model, data.x_train, data.y_train, class_names=data.class_names, batch_size=256, verbose=0
    )
    modules.save(path.with_suffix(".modules"), overwrite=True)
    figures = {"accuracy": accuracy, "seconds": log.seconds(), **dataclasses.asdict(recipe)}
    replace_file(path.with_suffix(".json"), json.dumps(figures, indent=2))
    shutil.rmtree(backup, ignore_errors=True)


def _fit(recipe: Recipe, data: Dataset, backup: Path, log: keras.callbacks.Callback) -> keras.Model:
    keras.utils.set_random_seed(recipe.seed)
    network = build_network(recipe.network, data.x_train.shape[1:], len(data.class_names))
    model = ModularModel.from_model(network)
    batches = EpochBatches(
        data.x_train,
        data.y_train,
        batch_size=recipe.batch_size,
        augment=recipe.augment,
        seed=recipe.seed,
    )
    loss = None if recipe.weights is None else MODALoss(*recipe.weights)
    steps = recipe.epochs * len(batches)
    compile_by_recipe(model, learning_rate=recipe.learning_rate, steps=steps, modular_loss=loss)
    # Two copies, for a kill may come while one is written, and kept until the modules are there.
    restore = keras.callbacks.BackupAndRestore(
        str(backup), double_checkpoint=True, delete_checkpoint=False
    )
    callbacks = [batches.tell_epoch(), log, restore]
    model.fit(batches, epochs=recipe.epochs, shuffle=False, verbose=0, callbacks=callbacks)
    return model


class _EpochLog(keras.callbacks.Callback):
    """Seconds and figures of every epoch, once also where an epoch was done twice."""

    def __init__(self, path: Path):
        super().__init__()
        self.results = ResultsFile(path, ["epoch", "seconds", "loss", "accuracy"], key=["epoch"])

    def seconds(self) -> float:
        return sum(row["seconds"] for row in self.results.rows())

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        seconds = time.perf_counter() - self.start
        figures = {name: float(logs[name]) for name in ("loss", "accuracy")}
        self.results.append([{"epoch": epoch, "seconds": seconds, **figures}])


def _method(recipe: Recipe) -> str:
    return "standard" if recipe.weights is None else "modular"


def _digest(recipe: Recipe, data: Dataset) -> str:
    text = json.dumps([dataclasses.asdict(recipe), data_digest(data)], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def data_digest(data: Dataset) -> str:
    """Tells data sets apart by their contents.

    Args:
        data: A data set.

    Returns:
        Str of hexadecimal digits.
    """
    digest = hashlib.blake2b(digest_size=16)
    for array in (data.x_train, data.y_train, data.x_test, data.y_test):
        digest.update(f"{array.shape}".encode())
        digest.update(array)
    return digest.hexdigest()
