"""Measures of modules and of the models composed of them."""

from moda_keras.metrics.accuracy import full_accuracy, reuse_accuracy
from moda_keras.metrics.flops import count_flops, flops_by_layer, planned_flops
from moda_keras.metrics.kernels import cohesion, coupling, kernel_retention_rate
from moda_keras.metrics.overlap import layer_overlap, mean_overlap, module_overlap
from moda_keras.metrics.size import composed_size, module_size

__all__ = [
    "cohesion",
    "composed_size",
    "count_flops",
    "coupling",
    "flops_by_layer",
    "full_accuracy",
    "kernel_retention_rate",
    "layer_overlap",
    "mean_overlap",
    "module_overlap",
    "module_size",
    "planned_flops",
    "reuse_accuracy",
]
