"""What modules are measured against: the full model's outputs, and a small model from scratch."""

from moda_keras.methods.baselines.head_only import head_only
from moda_keras.methods.baselines.scratch_model import scratch_model

__all__ = ["head_only", "scratch_model"]
