"""Choosing units: by a threshold of how often they are active, or by importance and a budget.

`threshold_curve` measures modules at many thresholds; `tune_threshold` finds the smallest modules
within a loss of accuracy; `within` finds the best modules of a size; `size_curve` measures models
of some classes at many sizes.
"""

from moda_keras.evaluation.subtasks import sample_subtasks
from moda_keras.tuning.budget import within
from moda_keras.tuning.curve import threshold_curve
from moda_keras.tuning.search import tune_threshold
from moda_keras.tuning.sizes import size_curve
from moda_keras.tuning.thresholds import distinct_thresholds

__all__ = [
    "distinct_thresholds",
    "sample_subtasks",
    "size_curve",
    "threshold_curve",
    "tune_threshold",
    "within",
]
