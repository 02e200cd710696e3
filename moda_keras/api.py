"""The public names of the package: what `import moda_keras` gives."""

import sys
from typing import Any

from moda_keras import (
    datasets,
    diagnosis,
    evaluation,
    experiments,
    layers,
    methods,
    ops,
    reporting,
    slicing,
    tuning,
    zoo,
)
from moda_keras.files import ModuleFileError
from moda_keras.graph import HiddenActivation, find_hidden_activations, to_functional
from moda_keras.methods.moda.decompose import decompose
from moda_keras.modules.load_modules import load_modules
from moda_keras.modules.merging import merge
from moda_keras.modules.module import Module
from moda_keras.modules.module_set import ModuleSet
from moda_keras.modules.summary import module_html, module_set_html, summary
from moda_keras.observing import criteria
from moda_keras.observing.epsilons import choose_epsilons
from moda_keras.reuse.compose import compose
from moda_keras.reuse.masked_model import masked_model
from moda_keras.reuse.replace import replace
from moda_keras.reuse.side_by_side import side_by_side
from moda_keras.reuse.two_class_model import two_class_model
from moda_keras.slicing.explanation import explain
from moda_keras.training import callbacks
from moda_keras.training.moda_loss import MODALoss
from moda_keras.training.modular_loss import ModularLoss
from moda_keras.training.modular_model import ModularModel


def _tune_threshold(
    self: ModuleSet, x_val: Any, y_val: Any = None, max_accuracy_loss: float = 0.01, **options: Any
) -> ModuleSet:
    """The smallest modules within a loss of accuracy: see `moda_keras.tuning.tune_threshold`."""
    return tuning.tune_threshold(self, x_val, y_val, max_accuracy_loss, **options)


# Methods for the user, most of which reach into rooms below that of `ModuleSet`.
ModuleSet.tune_threshold = _tune_threshold
ModuleSet.within = tuning.within
ModuleSet.diagnose = diagnosis.diagnose
ModuleSet.compose = compose
ModuleSet.summary = summary
ModuleSet.merge = merge
# What notebooks show.
ModuleSet._repr_html_ = module_set_html
Module._repr_html_ = module_html

metrics = evaluation
report = reporting
# `import moda_keras.metrics` works too: rooms that are public by another name than their own.
sys.modules["moda_keras.callbacks"] = callbacks
sys.modules["moda_keras.criteria"] = criteria
sys.modules["moda_keras.metrics"] = metrics
sys.modules["moda_keras.report"] = report

__all__ = [
    "HiddenActivation",
    "MODALoss",
    "ModularLoss",
    "ModularModel",
    "Module",
    "ModuleFileError",
    "ModuleSet",
    "callbacks",
    "choose_epsilons",
    "compose",
    "criteria",
    "datasets",
    "decompose",
    "experiments",
    "explain",
    "find_hidden_activations",
    "layers",
    "load_modules",
    "masked_model",
    "methods",
    "metrics",
    "ops",
    "replace",
    "report",
    "side_by_side",
    "slicing",
    "to_functional",
    "tuning",
    "two_class_model",
    "zoo",
]
