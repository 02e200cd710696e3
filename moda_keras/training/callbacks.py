"""Keras callbacks."""

from moda_keras.training.modularity_monitor import ModularityMonitor
from moda_keras.training.resumable_training import ResumableTraining

__all__ = ["ModularityMonitor", "ResumableTraining"]
