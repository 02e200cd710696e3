"""A split of a data set, as its files hold it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class StoredSplit:
    """Samples before they are chosen.

    Attributes:
        samples: Array (N, ...): images, or paths of image files.
        labels: Int array (N,): indices into `class_names`.
        class_names: Names of all classes.
    """

    samples: np.ndarray
    labels: np.ndarray
    class_names: Sequence[str]
