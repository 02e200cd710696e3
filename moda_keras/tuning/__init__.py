"""Choosing tau: accuracy and size of modules as functions of their threshold.

`threshold_curve` measures modules at many thresholds; `tune_threshold` finds the smallest modules
within a loss of accuracy.
"""

from moda_keras.evaluation.subtasks import sample_subtasks
from moda_keras.tuning.curve import threshold_curve
from moda_keras.tuning.search import tune_threshold
from moda_keras.tuning.thresholds import distinct_thresholds

__all__ = ["distinct_thresholds", "sample_subtasks", "threshold_curve", "tune_threshold"]
