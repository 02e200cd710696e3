"""Repair of sliced models by calibration data: least squares layer by layer, without labels.

`walk` goes through original and new model side by side. `least_squares` finds what to add to a
kernel, `rectified` improves it for a ReLU behind, `projections` shows layers as matrices,
`positions` takes rows of tensors, `followers` finds the sum and the ReLU behind a layer, `moments`
matches mean and variance, `calibration` checks the data.

Source: He et al., Channel Pruning for Accelerating Very Deep Neural Networks (ICCV 2017).
"""

from moda_keras.reuse.repair.calibration import calibration_arrays
from moda_keras.reuse.repair.walk import build_repaired, require_data

__all__ = ["build_repaired", "calibration_arrays", "require_data"]
