"""The methods that the experiment `methods` compares: how each is trained and finds modules.

Their code is imported when they are used. Options are the arguments of a method; what is left out
has the method's own default.
"""

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras

from moda_keras.evaluation.subtasks import Subtask
from moda_keras.experiments.experiment import Workspace
from moda_keras.experiments.method_recipe import MethodRecipe, name_in_methods
from moda_keras.experiments.recipe import calibrate
from moda_keras.experiments.trained_model import TrainedModel
from moda_keras.files import write_text
from moda_keras.methods.moda.decompose import decompose
from moda_keras.methods.search import Search
from moda_keras.modules.load_modules import load_modules
from moda_keras.modules.module_set import ModuleSet
from moda_keras.reuse.compose import compose
from moda_keras.tuning import within


@dataclass(frozen=True, eq=False)
class Found:
    """What a method found.

    Attributes:
        name: Name of its files.
        trained: The trained model.
        modules: A module for each class; None for a method that makes a model for a sub-task.
        seconds: Wall-clock time of what is done once for all sub-tasks after the training.
        model_of: `model_of(subtask)` returns a model of a sub-task.
        is_costly: Whether a model takes so long that only those to be retrained are measured.
        is_retrained: Whether `model_of` has trained the model already.
    """

    name: str
    trained: TrainedModel
    modules: ModuleSet | None
    seconds: float
    model_of: Callable[[Subtask], keras.Model]
    is_costly: bool = False
    is_retrained: bool = False


class ComparedMethod(ABC):
    """A method with its options, which its constructor checks."""

    @abstractmethod
    def find(self, workspace: Workspace, name: str, network: str, seed: int) -> Found:
        """Trains a network, or loads it, and finds its modules.

        Args:
            workspace: Holds data and trained models.
            name: Name of the method.
            network: Name of the network.
            seed: Seed of training and search.
        """


class OfTraining(ComparedMethod):
    """Modules of a model that is trained for them.

    Args:
        kind: A kind of training of `ExperimentConfig`.
        is_constant: Whether the objectives have constant weights, whatever the config's warm-up.
    """

    def __init__(self, kind: str, *, is_constant: bool = False):
        self.kind = kind
        self.changes = {"warmup": None} if is_constant else {}

    def find(self, workspace: Workspace, name: str, network: str, seed: int) -> Found:
        trained = workspace.train(network, self.kind, seed, **self.changes)
        modules = trained.modules.with_threshold(workspace.config.threshold)
        return _of_modules(trained.name, trained, modules, trained.decompose_seconds)


class OfLoss(ComparedMethod):
    """Modules of a model with mask generators, trained with a loss of its own.

    Args:
        names: Fields of `MethodRecipe`.
        threshold: Of the modules; by default the config's.
        **options: Arguments of the loss.
    """

    def __init__(self, names: Mapping[str, str], *, threshold: float | None = None, **options: Any):
        self.names = names
        self.threshold = threshold
        self.options = options
        for field, each in names.items():
            made = name_in_methods(each)
            if field == "loss":
                made(**options)

    def find(self, workspace: Workspace, name: str, network: str, seed: int) -> Found:
        threshold = self.threshold or workspace.config.threshold
        recipe = MethodRecipe(
            **asdict(workspace.recipe(network, "standard", seed)),
            **self.names,
            options=json.dumps(self.options, sort_keys=True),
            find_options=json.dumps({"threshold": threshold}),
        )
        trained = workspace.train_by(recipe)
        return _of_modules(trained.name, trained, trained.modules, trained.decompose_seconds)


class OfSearch(ComparedMethod):
    """Modules that a search finds in the model of standard training.

    Args:
        search: A class of searches, or its name in `moda_keras.methods`.
        **options: Its arguments but the seed.
    """

    def __init__(self, search: str | Callable[..., Search], **options: Any):
        make = name_in_methods(search) if isinstance(search, str) else search
        self.make = partial(make, **options)
        self.make(seed=0)

    def find(self, workspace: Workspace, name: str, network: str, seed: int) -> Found:
        trained = workspace.train(network, "standard", seed)
        found = f"{trained.name}-{name}"
        modules, seconds = self.run(workspace, trained, found, seed)
        return _of_modules(found, trained, modules, seconds)

    def run(
        self, workspace: Workspace, trained: TrainedModel, name: str, seed: int, **options: Any
    ) -> tuple[ModuleSet, float]:
        """The modules that the search finds, and its seconds; kept in files of this name."""

        def search(state: Path) -> ModuleSet:
            return self.make(seed=seed, **options).decompose(
                trained.modules.model,
                workspace.data.x_train,
                workspace.data.y_train,
                class_names=workspace.data.class_names,
                state=state,
                verbose=0,
            )

        return _once(workspace.folder / "modules" / name, search)


class OfSubtaskSearch(OfSearch):
    """A model for each sub-task, of the units that a search of its own finds.

    Args:
        search: A class of searches with an argument `classes`, as of `OfSearch`.
        **options: Its arguments but `classes` and the seed.
    """

    def find(self, workspace: Workspace, name: str, network: str, seed: int) -> Found:
        trained = workspace.train(network, "standard", seed)
        found = f"{trained.name}-{name}"

        def model_of(subtask: Subtask) -> keras.Model:
            own = f"{found}-{'-'.join(map(str, subtask))}"
            modules, _ = self.run(workspace, trained, own, seed, classes=list(subtask))
            return compose(modules, subtask)

        return Found(found, trained, None, 0.0, model_of, is_costly=True)


@dataclass(frozen=True, kw_only=True)
class ByImportance(ComparedMethod):
    """A model for each sub-task, of the most important units, repaired by least squares.

    Attributes:
        parameters: Share of the original's parameters that the model of a sub-task has.
        calibration_samples: How many training samples of the sub-task to repair with.
    """

    parameters: float = 0.3
    calibration_samples: int = 400

    def find(self, workspace: Workspace, name: str, network: str, seed: int) -> Found:
        trained, modules, seconds = self.important(workspace, network, seed)
        return Found(
            f"{trained.name}-{name}",
            trained,
            None,
            seconds,
            lambda subtask: self.small_model(workspace, modules, subtask),
        )

    def important(
        self, workspace: Workspace, network: str, seed: int
    ) -> tuple[TrainedModel, ModuleSet, float]:
        """The standard model, its modules with importance, and the seconds they took."""
        trained = workspace.train(network, "standard", seed)
        data = workspace.data

        def measure(_: Path) -> ModuleSet:
            return decompose(
                trained.modules.model,
                data.unaugmented_batches(),
                criterion="importance",
                class_names=data.class_names,
                verbose=0,
            )

        return trained, *_once(workspace.folder / "modules" / f"{trained.name}-importance", measure)

    def small_model(
        self, workspace: Workspace, modules: ModuleSet, subtask: Subtask
    ) -> keras.Model:
        """The repaired model of a sub-task."""
        chosen = within(modules, parameters=self.parameters, classes=subtask)
        samples = workspace.data.of_classes(subtask).x_train[: self.calibration_samples]
        return compose(chosen, subtask, calibration_data=samples, verbose=0)


@dataclass(frozen=True, kw_only=True)
class FromScratch(ComparedMethod):
    """A model for each sub-task, trained on its data alone from new weights.

    Attributes:
        parameters: Size of the model: its architecture is that of `ByImportance`.
        epochs: Epochs of its training; by default the recipe's.
    """

    parameters: float = 0.3
    epochs: int | None = None

    def __post_init__(self):
        name_in_methods("baselines.scratch_model")

    def find(self, workspace: Workspace, name: str, network: str, seed: int) -> Found:
        by_importance = ByImportance(parameters=self.parameters)
        trained, modules, _ = by_importance.important(workspace, network, seed)

        def model_of(subtask: Subtask) -> keras.Model:
            chosen = within(modules, parameters=self.parameters, classes=subtask)
            model = name_in_methods("baselines.scratch_model")(compose(chosen, subtask), seed=seed)
            epochs = self.epochs or workspace.config.scaled(workspace.config.epochs)
            rate = workspace.config.learning_rate
            train_on_subtask(workspace, model, subtask, rate, seed=seed, epochs=epochs)
            return model

        return Found(
            f"{trained.name}-{name}",
            trained,
            None,
            0.0,
            model_of,
            is_costly=True,
            is_retrained=True,
        )


class HeadOnly(ComparedMethod):
    """The whole standard model with the logits of a sub-task alone."""

    def find(self, workspace: Workspace, name: str, network: str, seed: int) -> Found:
        trained = workspace.train(network, "standard", seed)
        slicer = trained.modules.slicer
        return Found(
            f"{trained.name}-{name}",
            trained,
            None,
            0.0,
            lambda subtask: slicer.build(slicer.plan({}, list(subtask))),
        )


_MWT = partial(OfLoss, {"loss": "mwt.MwTLoss", "model": "mwt.MwTModel", "find": "mwt.modularize"})
_NEMO = partial(
    OfLoss,
    {
        "loss": "nemo.NeMoLoss",
        "model": "nemo.NeMoModel",
        "without_generators": "nemo.without_generators",
    },
)
COMPARED_METHODS: dict[str, Callable[..., ComparedMethod]] = {
    "standard": partial(OfTraining, "standard"),
    "moda": partial(OfTraining, "modular"),
    "moda_constant": partial(OfTraining, "modular", is_constant=True),
    "mwt": _MWT,
    "mwt_warmup": partial(_MWT, warmup="accuracy"),
    "nemo": _NEMO,
    "nemo_warmup": partial(_NEMO, warmup="accuracy"),
    "gradsplitter": partial(OfSearch, "gradsplitter.GradSplitter"),
    "cnnsplitter": partial(OfSearch, "cnnsplitter.CNNSplitter"),
    "incite": partial(OfSearch, "incite.INCITE"),
    "seam": partial(OfSearch, "seam.SeaM"),
    "seam_subtask": partial(OfSubtaskSearch, "seam.SeaM"),
    "magnitude": partial(OfSearch, "magnitude.Magnitude"),
    "importance": ByImportance,
    "head_only": HeadOnly,
    "scratch": FromScratch,
}


def compared_method(name: str, options: Mapping[str, Any]) -> ComparedMethod:
    """A method with its options.

    Args:
        name: A name out of `COMPARED_METHODS`.
        options: Its options.

    Returns:
        A `ComparedMethod`.

    Raises:
        ValueError: If this version has no such method, or an option is unknown or impossible.
    """
    try:
        return COMPARED_METHODS[name](**options)
    except TypeError as error:
        raise ValueError(
            f"Expected options that the method {name!r} has. Received: {dict(options)} ({error})"
        ) from error


def train_on_subtask(
    workspace: Workspace,
    model: keras.Model,
    subtask: Subtask,
    learning_rate: float,
    *,
    seed: int,
    epochs: int,
) -> None:
    """Trains a model of a sub-task on its data alone, by the config's recipe.

    Args:
        workspace: Holds the data.
        model: A model with output (batch, k).
        subtask: Tuple of k class indices.
        learning_rate: Initial learning rate.
        seed: Seed of the batches.
        epochs: Number of epochs.
    """
    config = workspace.config
    keras.utils.set_random_seed(seed)
    calibrate(
        model,
        workspace.data.of_classes(subtask),
        epochs=epochs,
        batch_size=config.batch_size,
        learning_rate=learning_rate,
        augment=config.augment,
        seed=seed,
        callbacks=workspace.callbacks,
    )


def _of_modules(name: str, trained: TrainedModel, modules: ModuleSet, seconds: float) -> Found:
    return Found(name, trained, modules, seconds, partial(compose, modules))


def _once(path: Path, find: Callable[[Path], ModuleSet]) -> tuple[ModuleSet, float]:
    """The modules of `find(state file)`, kept in a file, and the seconds that all calls took."""
    modules, spent = path.with_suffix(".modules"), path.with_suffix(".seconds")
    before = float(spent.read_text()) if spent.exists() else 0.0
    if not modules.exists():
        start = time.perf_counter()
        try:
            found = find(path.with_suffix(".npz"))
        finally:
            before += time.perf_counter() - start
            write_text(spent, str(before))
        found.save(modules)
    if path.with_suffix(".npz").exists():
        path.with_suffix(".npz").unlink(missing_ok=True)
    return load_modules(modules), before
