"""Measures of modules and of the models composed of them; public as `moda_keras.metrics`."""

from moda_keras.evaluation.accuracy import full_accuracy, reuse_accuracy
from moda_keras.evaluation.filters import cohesion, coupling, kernel_retention_rate
from moda_keras.evaluation.flops import count_flops, flops_by_layer, planned_flops
from moda_keras.evaluation.latency import measure_latency
from moda_keras.evaluation.masked_evaluator import MaskedEvaluator
from moda_keras.evaluation.model_measurement import ModelMeasurement
from moda_keras.evaluation.results_file import ResultsFile, read_rows
from moda_keras.evaluation.staged_model import why_not_staged
from moda_keras.evaluation.subtask_measurement import SubtaskMeasurement
from moda_keras.evaluation.subtask_sweep import sweep_subtasks
from moda_keras.evaluation.subtasks import draw_subtasks, sample_size, sample_subtasks, subtasks_of
from moda_keras.evaluation.verification import Verification, verify
from moda_keras.modules.overlap import layer_overlap, mean_overlap, module_overlap
from moda_keras.modules.size import composed_size, module_size
from moda_keras.slicing.parameters import count_parameters

__all__ = [
    "MaskedEvaluator",
    "ModelMeasurement",
    "ResultsFile",
    "SubtaskMeasurement",
    "Verification",
    "cohesion",
    "composed_size",
    "count_flops",
    "count_parameters",
    "coupling",
    "draw_subtasks",
    "flops_by_layer",
    "full_accuracy",
    "kernel_retention_rate",
    "layer_overlap",
    "mean_overlap",
    "measure_latency",
    "module_overlap",
    "module_size",
    "planned_flops",
    "read_rows",
    "reuse_accuracy",
    "sample_size",
    "sample_subtasks",
    "subtasks_of",
    "sweep_subtasks",
    "verify",
    "why_not_staged",
]
