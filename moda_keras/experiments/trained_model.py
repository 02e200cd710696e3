"""Models that are trained once and kept in a folder; training is resumable."""

import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras

from moda_keras.claims import claimed
from moda_keras.datasets import Dataset, StreamedDataset
from moda_keras.experiments.recipe import Recipe, fit_by_recipe
from moda_keras.files import replacing, write_text
from moda_keras.modules.load_modules import load_modules
from moda_keras.modules.module_set import ModuleSet
from moda_keras.training.training_state import remove_training_state
from moda_keras.zoo.registry import build_network


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A trained model with its modules.

    Attributes:
        modules: Its modules at tau 0.9; the model is `modules.model`.
        accuracy: Test accuracy.
        seconds: Wall-clock time of its epochs.
        name: Name of its files; it identifies recipe and data.
        decompose_seconds: Wall-clock time of finding the modules; NaN for models of older versions.
        wrapper: The model that was trained, where a method trains another one than
            `modules.model`, such as one with mask generators; None otherwise.
    """

    modules: ModuleSet
    accuracy: float
    seconds: float
    name: str
    decompose_seconds: float = math.nan
    wrapper: keras.Model | None = None

    @property
    def model(self) -> keras.Model:
        """The model that was trained."""
        return self.wrapper or self.modules.model


def train_model(
    recipe: Recipe,
    data: Dataset | StreamedDataset,
    folder: str | Path,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> TrainedModel:
    """Trains and decomposes a model, or loads the model trained by the same recipe.

    Training that was killed resumes from its last complete epoch, with the same result if the
    backend is deterministic. One process at a time trains a model.

    Args:
        recipe: The recipe.
        data: Training and test images.
        folder: Folder of trained models.
        callbacks: Keras callbacks for the training, as in `fit_by_recipe`.

    Returns:
        A `TrainedModel`.

    Raises:
        FileInUseError: If another process trains this model in this folder.
        ValueError: If the state of its interrupted training is damaged.
    """
    name = f"{recipe.network}-{recipe.method}-seed{recipe.seed}-{_digest(recipe, data)}"
    path = Path(folder) / name
    done = path.with_suffix(".json")
    state = path.with_suffix(".training")
    if not done.exists():
        with claimed(path):
            _train(recipe, data, path, callbacks)
    # A process that was killed here left it; with the model, nobody needs it.
    remove_training_state(state)
    figures = json.loads(done.read_text())
    wrapper = path.with_suffix(".keras")
    return TrainedModel(
        load_modules(path.with_suffix(".modules")),
        figures["accuracy"],
        figures["seconds"],
        name,
        figures.get("decompose_seconds", math.nan),
        keras.saving.load_model(wrapper) if wrapper.exists() else None,
    )


def discard_interrupted(folder: str | Path) -> None:
    """Removes the states of interrupted trainings from a folder of trained models.

    Args:
        folder: As of `train_model`.

    Raises:
        FileInUseError: If another process trains one of the models.
    """
    for pattern in ("*.training", "*.training.previous"):
        for state in sorted(Path(folder).glob(pattern)):
            path = Path(str(state).removesuffix(".previous").removesuffix(".training"))
            with claimed(path):
                remove_training_state(path.with_suffix(".training"))


def _train(
    recipe: Recipe,
    data: Dataset | StreamedDataset,
    path: Path,
    callbacks: Sequence[keras.callbacks.Callback],
) -> None:
    """Writes the modules and then, as the sign of completion, the figures."""
    keras.utils.set_random_seed(recipe.seed)
    network = build_network(recipe.network, data.image_shape, len(data.class_names))
    model = recipe.model_to_train(network)
    epochs = fit_by_recipe(model, recipe, data, path, callbacks)
    _, accuracy, *_ = model.evaluate(data.test_batches(), verbose=0)
    start = time.perf_counter()
    modules = recipe.find_modules(model, data)
    figures = {
        "accuracy": accuracy,
        "seconds": sum(row["seconds"] for row in epochs),
        "decompose_seconds": time.perf_counter() - start,
        **dataclasses.asdict(recipe),
    }
    modules.save(path.with_suffix(".modules"), overwrite=True)
    if modules.model is not model:
        with replacing(path.with_suffix(".keras")) as beside:
            model.save(beside)
    write_text(path.with_suffix(".json"), json.dumps(figures, indent=2))


def _digest(recipe: Recipe, data: Dataset | StreamedDataset) -> str:
    text = json.dumps([dataclasses.asdict(recipe), data.digest()], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
