"""Choosing tau: accuracy and size of modules against their threshold, and the smallest that serve.

`threshold_curve` shows what thresholds do; `ModuleSet.tune_threshold` chooses one.
"""

from moda_keras.tuning.candidates import distinct_thresholds
from moda_keras.tuning.curve import threshold_curve
from moda_keras.tuning.search import tune_threshold
from moda_keras.tuning.subtask_sample import sample_subtasks

__all__ = ["distinct_thresholds", "sample_subtasks", "threshold_curve", "tune_threshold"]
