"""Binary masks that gradients pass through."""

from typing import Any

from keras import ops


@ops.custom_gradient
def binarize(scores: Any) -> Any:
    """1 where a score is above 0, else 0; the gradient passes through, clipped to [-1, 1].

    Args:
        scores: Float tensor of any shape.

    Returns:
        Tensor of zeros and ones, of the same shape and dtype. Its gradient by a score is that of
        the loss by the mask's entry, whatever the score, so that a unit can come back.

    Examples:
        >>> import numpy as np
        >>> from moda_keras.methods.straight_through import binarize
        >>> binarize(np.array([0.5, 0.0, -2.0], "float32")).tolist()
        [1.0, 0.0, 0.0]

    Source: the authors' code of GradSplitter and of SeaM; Bengio et al., "Estimating or Propagating
    Gradients Through Stochastic Neurons" (2013).
    """

    def gradient(*arguments, upstream=None):
        # TensorFlow and JAX give the upstream gradient as the only argument, PyTorch by its name.
        return ops.clip(arguments[0] if upstream is None else upstream, -1.0, 1.0)

    scores = ops.convert_to_tensor(scores)
    return ops.cast(scores > 0, scores.dtype), gradient
