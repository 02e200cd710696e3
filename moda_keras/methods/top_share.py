"""The share of units, or of groups of them, with the highest scores."""

from typing import Any

import numpy as np


def top_share(scores: np.ndarray, share: float) -> np.ndarray:
    """Marks the highest scores of each class.

    Args:
        scores: Float array (C, D).
        share: In [0, 1]: how many of the D to mark, rounded up. Of equal scores the first counts.

    Returns:
        Bool array (C, D).

    Examples:
        >>> import numpy as np
        >>> from moda_keras.methods.top_share import top_share
        >>> top_share(np.array([[1.0, 3.0, 2.0], [0.0, 0.0, 0.0]]), 0.5).tolist()
        [[False, True, True], [True, True, False]]
    """
    number = int(np.ceil(share * scores.shape[1] - 1e-9))  # 0.7 * 10 is a little above 7
    order = np.argsort(-scores, axis=1, kind="stable")[:, :number]
    found = np.zeros(scores.shape, bool)
    np.put_along_axis(found, order, True, axis=1)
    return found


def check_share(name: str, share: Any, *, may_be_zero: bool = False) -> float:
    """The share as a float; a ValueError if it is no number in (0, 1], or [0, 1].

    Args:
        name: Name of the argument.
        share: Its value.
        may_be_zero: Whether 0 is one.
    """
    is_number = isinstance(share, (int, float, np.integer, np.floating))
    value = float(share) if is_number and not isinstance(share, bool) else -1.0
    if 0 < value <= 1 or (may_be_zero and value == 0):
        return value
    expected = "from 0 to 1" if may_be_zero else "above 0, at most 1"
    raise ValueError(f"Expected `{name}` to be a number {expected}. Received: {name}={share!r}")
