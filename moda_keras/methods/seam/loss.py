"""The loss of SeaM."""

from typing import Any

from keras import ops


def reengineering_loss(outputs: Any, labels: Any, shares: Any, alpha: float) -> Any:
    """Cross-entropy on the target task plus the share of units that stay, summed over searches.

    Searches share no trained value, so the sum gives each the gradient of its own loss.

    Args:
        outputs: Float tensor (S, b, K): what the model of each search puts out, before a softmax.
        labels: Int tensor (S, b), from 0 to K - 1.
        shares: Float tensor (S,), the share of its units that each model keeps.
        alpha: Weight of the share.

    Returns:
        Scalar.

    Examples:
        >>> import numpy as np
        >>> from moda_keras.methods.seam import reengineering_loss
        >>> outputs, labels = np.zeros((1, 3, 2), "float32"), np.array([[0, 1, 1]])
        >>> loss = reengineering_loss(outputs, labels, np.array([0.25], "float32"), alpha=2.0)
        >>> round(float(loss), 4)  # log(2) + 2 * 0.25
        1.1931

    Source: Qi et al., "Reusing Deep Neural Network Models through Model Re-engineering", ICSE 2023.
    """
    target = ops.one_hot(labels, outputs.shape[-1], dtype=outputs.dtype)
    losses = -ops.sum(target * ops.log_softmax(outputs, axis=-1), axis=-1)
    return ops.sum(ops.mean(losses, axis=1)) + alpha * ops.sum(shares)
