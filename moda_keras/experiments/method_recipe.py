"""The recipe of a method that trains a model of its own, other than MODA."""

import importlib.util
import json
import pkgutil
from dataclasses import dataclass
from typing import Any

import keras

from moda_keras import methods
from moda_keras.datasets import Dataset, StreamedDataset
from moda_keras.experiments.recipe import Recipe
from moda_keras.methods.moda.decompose import decompose
from moda_keras.modules.module_set import ModuleSet
from moda_keras.training.modular_loss import ModularLoss


@dataclass(frozen=True)
class MethodRecipe(Recipe):
    """As `Recipe`, with the loss, the model and the modules of a method in `moda_keras.methods`.

    Attributes:
        loss: Its loss, such as "mwt.MwTLoss"; `weights` and `warmup` are not used.
        options: Arguments of the loss, as a JSON object.
        model: The class whose `from_model` gives the model to train, such as "mwt.MwTModel".
        find: What finds the modules, such as "mwt.modularize"; `decompose` by default.
        find_options: Arguments of `find`, as a JSON object.
        without_generators: What makes modules of the plain network of those found, such as
            "nemo.without_generators"; None for nothing.
    """

    loss: str = ""
    options: str = "{}"
    model: str = ""
    find: str | None = None
    find_options: str = "{}"
    without_generators: str | None = None

    @property
    def method(self) -> str:
        return self.loss.partition(".")[0]

    @property
    def modular_loss(self) -> ModularLoss:
        return name_in_methods(self.loss)(**json.loads(self.options))

    def model_to_train(self, network: keras.Model) -> keras.Model:
        return name_in_methods(self.model).from_model(network)

    def find_modules(self, model: keras.Model, data: Dataset | StreamedDataset) -> ModuleSet:
        find = decompose if self.find is None else name_in_methods(self.find)
        batches, options = data.unaugmented_batches(), json.loads(self.find_options)
        modules = find(model, batches, class_names=data.class_names, verbose=0, **options)
        if self.without_generators is None:
            return modules
        return name_in_methods(self.without_generators)(modules)


def name_in_methods(name: str) -> Any:
    """A public name of `moda_keras.methods`, imported when it is needed.

    Args:
        name: Folder and name, such as "mwt.MwTLoss".

    Returns:
        The class or function.

    Raises:
        ValueError: If there is no such folder or name.

    Examples:
        >>> from moda_keras.experiments.method_recipe import name_in_methods
        >>> name_in_methods("search.Search").__name__
        'Search'
    """
    folder, _, last = name.partition(".")
    if importlib.util.find_spec(f"{methods.__name__}.{folder}") is not None:
        module = importlib.import_module(f"{methods.__name__}.{folder}")
        if hasattr(module, last):
            return getattr(module, last)
    found = sorted(each.name for each in pkgutil.iter_modules(methods.__path__) if each.ispkg)
    raise ValueError(
        f"Expected a method of this version of moda_keras, which has {found}. Received: {name!r}"
    )
