"""The loss of GradSplitter."""

from typing import Any

from keras import ops


def composed_loss(outputs: Any, labels: Any, shares: Any, alpha: float) -> Any:
    """Cross-entropy of the composed modules, plus the share of filters that they keep.

    Args:
        outputs: Float tensor (b, C): what the module of each class puts out for each sample.
        labels: Int tensor (b,), the classes of the samples.
        shares: Float tensor (C,), the share of its filters that each module keeps.
        alpha: Weight of the mean share.

    Returns:
        Scalar.

    Examples:
        >>> import numpy as np
        >>> from moda_keras.methods.gradsplitter import composed_loss
        >>> outputs, labels = np.zeros((2, 4), "float32"), np.array([0, 3])
        >>> loss = composed_loss(outputs, labels, np.array([0.2, 0.4, 0.0, 0.2], "float32"), 0.5)
        >>> round(float(loss), 4)  # log(4) + 0.5 * 0.2
        1.4863

    Source: Qi et al., "Reusing Convolutional Neural Network Models through Modularization and
    Composition", TOSEM 2023.
    """
    target = ops.one_hot(labels, outputs.shape[-1], dtype=outputs.dtype)
    losses = -ops.sum(target * ops.log_softmax(outputs, axis=-1), axis=-1)
    return ops.mean(losses) + alpha * ops.mean(shares)
