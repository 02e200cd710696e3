"""Repair of sliced models by calibration data: least squares layer by layer, without labels.

`walk` goes through original and new model side by side. `least_squares` finds what to add to a
kernel, `projections` shows layers as matrices, `sums` lets one summand of a residual block make up
for the others, `moments` matches mean and variance, `calibration` checks the data.

Source: He et al., Channel Pruning for Accelerating Very Deep Neural Networks (ICCV 2017).
"""

from moda_keras.reuse.repair.calibration import calibration_arrays
from moda_keras.reuse.repair.walk import build_repaired, require_data

__all__ = ["build_repaired", "calibration_arrays", "require_data"]
