"""The papers' training recipe, resumable after a kill."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from moda_keras.datasets import Dataset, StreamedDataset
from moda_keras.evaluation.results_file import ResultsFile, read_rows, write_rows
from moda_keras.evaluation.samples import predict
from moda_keras.graph import activation_name, trace
from moda_keras.methods.moda.decompose import decompose
from moda_keras.modules.module_set import ModuleSet
from moda_keras.slicing.logits import find_output_activation
from moda_keras.training.moda_loss import MODALoss
from moda_keras.training.modular_loss import ModularLoss
from moda_keras.training.modular_model import ModularModel
from moda_keras.training.resumable_training import ResumableTraining

FIGURES = ("loss", "accuracy")
# Images from which it is told whether a model puts out probabilities.
TRIED_IMAGES = 8


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    Attributes:
        network: A name out of `NETWORKS`.
        weights: alpha, beta and gamma; None for standard training.
        epochs, batch_size, learning_rate: Of SGD with Nesterov momentum 0.9 and cosine decay.
        augment: As in `Dataset.train_batches`.
        seed: Seed of weights and batches.
        warmup: Of `MODALoss`. None is the paper's loss, with constant weights.
    """

    network: str
    weights: tuple[float, float, float] | None = None
    epochs: int = 200
    batch_size: int = 128
    learning_rate: float = 0.05
    augment: str = "crop_flip"
    seed: int = 0
    warmup: str | None = None

    @property
    def method(self) -> str:
        """The kind of training, for names of files."""
        return "standard" if self.weights is None else "modular"

    @property
    def modular_loss(self) -> ModularLoss | None:
        """The loss; None for standard training."""
        return None if self.weights is None else MODALoss(*self.weights, warmup=self.warmup)

    def model_to_train(self, network: keras.Model) -> keras.Model:
        """The model that is trained, with the layers of the network."""
        return ModularModel.from_model(network)

    def find_modules(self, model: keras.Model, data: Dataset | StreamedDataset) -> ModuleSet:
        """The modules of the trained model."""
        batches = data.unaugmented_batches()
        return decompose(model, batches, class_names=data.class_names, verbose=0)


def compile_by_recipe(
    model: keras.Model,
    data: Dataset | StreamedDataset,
    *,
    learning_rate: float,
    steps: int,
    **arguments: object,
) -> None:
    """Compiles a model for the papers' recipe: SGD, Nesterov momentum 0.9, cosine decay.

    Args:
        model: A model whose output is logits, or probabilities.
        data: The data.
        learning_rate: Initial learning rate.
        steps: Number of training steps.
        **arguments: Further arguments of `compile`.
    """
    schedule = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    model.compile(
        keras.optimizers.SGD(schedule, momentum=0.9, nesterov=True),
        keras.losses.SparseCategoricalCrossentropy(from_logits=_gives_logits(model, data)),
        metrics=["accuracy"],
        **arguments,
    )


def _gives_logits(model: keras.Model, data: Dataset | StreamedDataset) -> bool:
    """Whether the outputs are logits, of which logarithms of probabilities are a special case."""
    graph = trace(model)
    step = find_output_activation(graph)
    name = None if step is None else activation_name(step.operation)
    if name in ("softmax", "logsoftmax"):
        return name == "logsoftmax"
    if step is None and isinstance(graph.steps[-1].operation, keras.layers.Dense):
        return True
    # The outputs tell: of probabilities, none is negative, and those of a sample sum to 1.
    images, _ = data.unaugmented_batches()[0]
    scores = predict(model, images[:TRIED_IMAGES])
    is_distribution = np.allclose(scores.sum(axis=-1), 1, atol=1e-3) and scores.min() >= 0
    return not is_distribution


def fit_by_recipe(
    model: keras.Model,
    recipe: Recipe,
    data: Dataset | StreamedDataset,
    state: str | Path,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    settings: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Trains a model, or resumes its training from the last complete epoch.

    Writes `<state>.training`, from which training resumes, and `<state>.csv`, a row for each epoch.
    The caller removes the state with `remove_training_state` once the model is saved.

    Args:
        model: A `ModularModel`, or any model if `recipe.weights` is None, with its initial weights,
            also when training resumes.
        recipe: The recipe; `recipe.network` is not used.
        data: The data; training images are used.
        state: Path of the state, without suffix.
        callbacks: Keras callbacks. They run after the state is saved, so an exception at the end of
            an epoch loses nothing.
        settings: What tells this training from others, as of `ResumableTraining`.

    Returns:
        For each epoch a dict: `epoch`, `seconds`, `loss`, `accuracy`, and in modular training the
        task loss and the objectives.
    """
    batches = data.train_batches(recipe.batch_size, augment=recipe.augment, seed=recipe.seed)
    steps = recipe.epochs * len(batches)
    loss = recipe.modular_loss
    modular = {} if loss is None else {"modular_loss": loss}
    compile_by_recipe(model, data, learning_rate=recipe.learning_rate, steps=steps, **modular)
    resumable = ResumableTraining(f"{state}.training", settings=settings)
    figures = FIGURES + (("task_loss", *loss.objective_names) if modular else ())
    log = _EpochLog(f"{state}.csv", figures, resumable)
    model.fit(
        batches,
        initial_epoch=resumable.initial_epoch,
        epochs=recipe.epochs,
        shuffle=False,
        verbose=0,
        callbacks=[batches.tell_epoch(), _Clock(), resumable, log, *callbacks],
    )
    return log.results.rows()


def calibrate(
    model: keras.Model,
    data: Dataset | StreamedDataset,
    *,
    epochs: int = 5,
    batch_size: int = 128,
    learning_rate: float = 0.05,
    augment: str = "none",
    seed: int = 0,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> None:
    """Trains the trainable part of a model by the papers' recipe, such as what `replace` returned.

    Args:
        model: The model.
        data: Data of the model's classes, such as the weak model's; training images are used.
        epochs: Number of epochs; for a calibration layer, 3 to 5 are enough.
        batch_size: Samples in a batch.
        learning_rate: Initial learning rate.
        augment: As in `Dataset.train_batches`.
        seed: Seed of the order of samples.
        callbacks: Keras callbacks.
    """
    batches = data.train_batches(batch_size, augment=augment, seed=seed)
    compile_by_recipe(model, data, learning_rate=learning_rate, steps=epochs * len(batches))
    callbacks = [batches.tell_epoch(), *callbacks]
    model.fit(batches, epochs=epochs, shuffle=False, verbose=0, callbacks=callbacks)


class _Clock(keras.callbacks.Callback):
    """Adds the wall-clock seconds of each epoch to its logs."""

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        logs["seconds"] = time.perf_counter() - self.start


class _EpochLog(keras.callbacks.Callback):
    """Writes a row for each epoch: those before an interruption as the state has them.

    Args:
        path: The CSV file.
        figures: Names of the logs to write.
        state: The state of the training, which comes before this in the list of callbacks.
    """

    def __init__(self, path: str, figures: tuple[str, ...], state: ResumableTraining):
        super().__init__()
        self.path = path
        self.columns = ["epoch", "seconds", *figures]
        self.state = state

    def on_train_begin(self, logs=None):
        # A kill between state and log leaves them an epoch apart: the state is right.
        rows = [self._row(epoch) for epoch in range(self.state.initial_epoch)]
        if rows and self._found() != rows:
            write_rows(self.path, rows)
        if rows:
            self._open()

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 0:
            # What an earlier training left. Its state is gone: there is a new one by now.
            Path(self.path).unlink(missing_ok=True)
            self._open()

    def on_epoch_end(self, epoch, logs=None):
        self.results.append([self._row(epoch)])

    def _found(self) -> list[dict[str, Any]] | None:
        """The rows that are there; None if a kill has torn the last one."""
        try:
            return read_rows(self.path)
        except (OSError, ValueError):
            return None

    def _open(self) -> None:
        self.results = ResultsFile(self.path, self.columns, key=["epoch"])

    def _row(self, epoch: int) -> dict[str, Any]:
        history = self.state.history
        return {"epoch": epoch, **{name: history[name][epoch] for name in self.columns[1:]}}
