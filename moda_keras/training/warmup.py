"""The warm-up: the objectives set in as the task is learned."""

from typing import Any

from keras import ops

from moda_keras.ops import unchecked_class_ids
from moda_keras.ops.backends import backend

WARMUPS = ("accuracy", None)
# The objectives set in above this part of the way from guessing to certainty: below it, a batch may
# be recognised by chance (docs/warmup.md).
ONSET = 0.25


def recognition(
    labels: Any, outputs: Any, sample_weight: Any = None, *, over_replicas: bool = False
) -> Any:
    """How far a batch is recognised better than by guessing.

    Args:
        labels: Integers of shape (B,) or (B, 1), or one-hot rows of shape (B, C).
        outputs: Float tensor (B, C): logits or probabilities.
        sample_weight: Optional, shape (B,). Samples of weight 0 do not count.
        over_replicas: Whether the batch is that of all replicas.

    Returns:
        Float scalar in [0, 1] without gradient: 0 up to a quarter of the way from an accuracy of
        1 / C to certainty, 1 where all samples are right.

    Examples:
        >>> import numpy as np
        >>> from moda_keras.training.warmup import recognition
        >>> outputs = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]], "float32")
        >>> float(recognition([0, 1, 0, 1], outputs)), float(recognition([0, 1, 1, 0], outputs))
        (1.0, 0.0)
    """
    classes = outputs.shape[-1]
    ids = unchecked_class_ids(labels, classes, sample_weight)
    counted = ops.cast(ids < classes, "float32")
    right = ops.cast(ops.equal(ops.cast(ops.argmax(outputs, axis=-1), "int32"), ids), "float32")
    totals = ops.stack([ops.sum(right * counted), ops.sum(counted)])
    if over_replicas:
        totals = backend.all_reduce_sum(totals)
    accuracy = totals[0] / ops.maximum(totals[1], 1.0)
    better = (accuracy * classes - 1) / (classes - 1)
    return ops.stop_gradient(ops.clip((better - ONSET) / (1 - ONSET), 0.0, 1.0))
