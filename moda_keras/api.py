"""The public names of the package: what `import moda_keras` gives."""

from moda_keras import (
    callbacks,
    datasets,
    experiments,
    layers,
    metrics,
    ops,
    report,
    slicing,
    tuning,
    zoo,
)
from moda_keras.composition import compose, masked_model
from moda_keras.decomposition import decompose
from moda_keras.epsilons import choose_epsilons
from moda_keras.graph import HiddenActivation, find_hidden_activations
from moda_keras.losses import MODALoss
from moda_keras.modular_model import ModularModel
from moda_keras.module_file import load_modules
from moda_keras.module_set import Module, ModuleSet
from moda_keras.replacement import replace

__all__ = [
    "HiddenActivation",
    "MODALoss",
    "ModularModel",
    "Module",
    "ModuleSet",
    "callbacks",
    "choose_epsilons",
    "compose",
    "datasets",
    "decompose",
    "experiments",
    "find_hidden_activations",
    "layers",
    "load_modules",
    "masked_model",
    "metrics",
    "ops",
    "replace",
    "report",
    "slicing",
    "tuning",
    "zoo",
]
