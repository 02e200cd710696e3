"""The papers' experiments: their tables and figures on any data, resumable.

`EXPERIMENTS` maps names to `Experiment`s; each has a `config(...)` and a `run(config, output)`.

Examples:
    ```python
    experiment = mk.experiments.EXPERIMENTS["modules"]
    config = experiment.config(data="digits", networks=["small_cnn"], epochs=60, augment="none")
    rows = experiment.run(config, "results")
    ```
"""

from moda_keras.evaluation.masked_evaluator import MaskedEvaluator
from moda_keras.evaluation.results_file import ResultsFile, read_rows
from moda_keras.evaluation.staged_model import why_not_staged
from moda_keras.evaluation.subtask_measurement import SubtaskMeasurement
from moda_keras.evaluation.subtask_sweep import sweep_subtasks
from moda_keras.evaluation.subtasks import draw_subtasks, sample_size, subtasks_of
from moda_keras.evaluation.verification import Verification, verify
from moda_keras.experiments.compared_methods import COMPARED_METHODS
from moda_keras.experiments.config import ExperimentConfig
from moda_keras.experiments.experiment import Experiment, summarize
from moda_keras.experiments.recipe import Recipe, calibrate, fit_by_recipe
from moda_keras.experiments.settings import (
    config_from_settings,
    load_settings,
    merge_settings,
    parse_setting,
)
from moda_keras.experiments.tables.ablation import ABLATION
from moda_keras.experiments.tables.methods import METHODS
from moda_keras.experiments.tables.modules import MODULES
from moda_keras.experiments.tables.replacement import REPLACEMENT, target_accuracy
from moda_keras.experiments.tables.reuse import REUSE
from moda_keras.experiments.tables.stability import STABILITY
from moda_keras.experiments.tables.suppression import SUPPRESSION
from moda_keras.experiments.tables.threshold import THRESHOLD
from moda_keras.experiments.tables.training import TRAINING
from moda_keras.experiments.trained_model import TrainedModel, train_model
from moda_keras.training.training_state import remove_training_state
from moda_keras.zoo.normalization import with_normalization
from moda_keras.zoo.registry import NETWORKS, build_network

EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for experiment in (
        TRAINING, MODULES, REUSE, REPLACEMENT, THRESHOLD, ABLATION, SUPPRESSION, STABILITY, METHODS,
    )
}  # fmt: skip

__all__ = [
    "COMPARED_METHODS",
    "EXPERIMENTS",
    "NETWORKS",
    "Experiment",
    "ExperimentConfig",
    "MaskedEvaluator",
    "Recipe",
    "ResultsFile",
    "SubtaskMeasurement",
    "TrainedModel",
    "Verification",
    "build_network",
    "calibrate",
    "config_from_settings",
    "draw_subtasks",
    "fit_by_recipe",
    "load_settings",
    "merge_settings",
    "parse_setting",
    "read_rows",
    "remove_training_state",
    "sample_size",
    "subtasks_of",
    "summarize",
    "sweep_subtasks",
    "target_accuracy",
    "train_model",
    "verify",
    "why_not_staged",
    "with_normalization",
]
