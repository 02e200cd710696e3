"""The loss of MwT: cohesion and coupling of the masks of samples."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import keras

from moda_keras.ops import ClassStatistics
from moda_keras.training.moda_loss import MODALoss
from moda_keras.training.modular_loss import ModularLoss

# (alpha, beta) by network and data, the paper's table 1. Networks and data as `zoo` and `datasets`
# name them.
PAPER_WEIGHTS: Mapping[tuple[str, str], tuple[float, float]] = MappingProxyType(
    {
        ("vgg16", "cifar10"): (0.5, 1.5),
        ("vgg16", "svhn"): (1.0, 2.0),
        ("resnet18", "cifar10"): (0.5, 1.5),
        ("resnet18", "svhn"): (1.3, 1.5),
        ("simcnn", "cifar10"): (0.5, 3.5),
        ("simcnn", "svhn"): (0.5, 2.0),
        ("rescnn", "cifar10"): (1.0, 2.2),
        ("rescnn", "svhn"): (1.0, 1.8),
    }
)
_OF_MODA = {"cohesion": "affinity", "coupling": "dispersion"}


@keras.saving.register_keras_serializable(package="moda_keras")
class MwTLoss(ModularLoss):
    """The modular loss of MwT: `alpha * cohesion + beta * coupling` of the masks of samples.

    Cohesion is one minus the mean cosine similarity of the masks of two samples of a class,
    coupling the mean similarity of the masks of two samples of different classes. Each is averaged
    over the masks of a `MwTModel`. The equations are those of MODA's affinity and dispersion, on
    masks, and cost linear time.

    A class with fewer than two samples in a batch, for which equation 4 divides by zero, has no
    part in cohesion; a pair of classes counts in coupling if both are present. Without any, an
    objective is 0. An all-zero mask is similar to none.

    Args:
        alpha: Float >= 0, weight of cohesion.
        beta: Float >= 0, weight of coupling.
        averaging: "class" averages over classes and pairs of classes (equations 4 and 5); "pair"
            averages over pairs of samples (the authors' released code).
        warmup: `None` is the paper's loss: the weights are constant. "accuracy" lets the objectives
            set in as the task is learned, as in `MODALoss`; at short trainings, the weights of the
            paper can keep the task from being learned (docs/methods/comparison.md).

    Raises:
        ValueError: If a weight is no number >= 0, or `averaging` is unknown.

    Examples:
        >>> import numpy as np
        >>> from moda_keras.methods import mwt
        >>> loss = mwt.MwTLoss()
        >>> masks = [np.array([[1.0, 0.0], [1.0, 0.0], [0.6, 0.8]], "float32")]
        >>> objectives = loss.objectives(masks, labels=[0, 0, 1], num_classes=2)
        >>> {name: round(float(value), 2) for name, value in objectives.items()}
        {'cohesion': 0.0, 'coupling': 0.6}
        >>> mwt.MwTLoss(*mwt.PAPER_WEIGHTS["vgg16", "svhn"]).weights
        {'cohesion': 1.0, 'coupling': 2.0}

    Source: MwT (ICSE 2024), equations 4, 5 and 6, and table 1.
    """

    objective_names = ("cohesion", "coupling")
    spans_replicas = True

    def __init__(
        self,
        alpha: float = 0.5,
        beta: float = 1.5,
        averaging: str = "class",
        warmup: str | None = None,
    ):
        self._equations = MODALoss(alpha, beta, 0.0, averaging=averaging, warmup=warmup)
        self.alpha = alpha
        self.beta = beta
        self.averaging = averaging
        self.warmup = warmup

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each objective in the loss, by name."""
        return {"cohesion": self.alpha, "coupling": self.beta}

    def objectives(
        self,
        activations: Sequence,
        labels: Any,
        num_classes: int,
        *,
        sample_weight: Any = None,
        axes: Sequence[int] | None = None,
        non_negative: Sequence[bool] | None = None,
    ) -> dict[str, Any]:
        """The two objectives, each averaged over the masks.

        Args as in `ModularLoss.objectives`, with masks for activations: D is the number of kernels.
        """
        values = self._equations.objectives(
            activations,
            labels,
            num_classes,
            sample_weight=sample_weight,
            axes=axes,
            non_negative=non_negative,
        )
        return _named(values)

    def objectives_of(self, statistics: ClassStatistics) -> dict[str, Any]:
        """The two objectives of one mask.

        Args:
            statistics: Its class statistics, which may be those of several batches, added up.

        Returns:
            Dict of float scalars "cohesion" and "coupling".
        """
        return _named(self._equations.objectives_of(statistics))

    def get_config(self) -> dict:
        """Constructor arguments."""
        return {
            "alpha": self.alpha,
            "beta": self.beta,
            "averaging": self.averaging,
            "warmup": self.warmup,
        }


def _named(values: dict[str, Any]) -> dict[str, Any]:
    return {name: values[equation] for name, equation in _OF_MODA.items()}
