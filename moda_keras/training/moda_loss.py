"""The loss of MODA: the weighted sum of its three objectives."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from moda_keras.ops import (
    ClassStatistics,
    JointStatistics,
    class_ids,
    joint_statistics,
    masked_as_vectors,
    observations,
)
from moda_keras.ops.backends import backend
from moda_keras.training.modular_loss import ModularLoss, check_choice, check_weight
from moda_keras.training.objectives import affinity, compactness, dispersion
from moda_keras.training.warmup import WARMUPS

AVERAGINGS = ("class", "pair")
COMPACTNESS_FORMS = ("unit", "norm")
REDUCTIONS = ("global", "replica")


@keras.saving.register_keras_serializable(package="moda_keras")
class MODALoss(ModularLoss):
    """The modular loss: `alpha * affinity + beta * dispersion + gamma * compactness`.

    Affinity pulls the activations of samples of a class together, dispersion pushes those of
    different classes apart, compactness silences units. Each is averaged over the hidden
    activations of a model; the total is added to the task loss by `ModularModel`.

    All three are losses, the lower the better: an affinity of 0 is that of identical vectors in
    each class, a dispersion of 0 that of classes that share no unit.

    Args:
        alpha: Float >= 0, weight of affinity.
        beta: Float >= 0, weight of dispersion.
        gamma: Float >= 0, weight of compactness.
        averaging: "class" averages over classes, so that each weighs the same however many samples
            a batch has of it (the paper's equations 3, 5, 6); "pair" averages over pairs of samples
            (the authors' released code).
        compactness: "unit" divides each L1 norm by the number of units; "norm" is equation 6 as
            printed, which with the default `gamma` suppresses all units and ends in chance
            accuracy.
        warmup: "accuracy" multiplies the weighted sum in every training step by how far the model
            recognises the batch better than by guessing: 0 up to a quarter of the way from an
            accuracy of 1 / C to certainty, 1 where all samples are right. The objectives set in as
            the task is learned, however long that
            takes. Without it, a network that learns slowly at first, such as one without
            BatchNormalization and with small initial weights, can end with all units silent, which
            has the lowest dispersion and compactness. `None` is the paper's loss: the weights are
            constant.
        reduce: "global" computes the objectives of the whole batch where replicas train on parts of
            it: under TensorFlow's strategies, and in PyTorch processes of `torch.distributed`
            (JAX's distributions do so anyway). "replica" computes those of each part, which have
            fewer pairs and none between parts.

    Examples:
        >>> import numpy as np
        >>> import moda_keras as mk
        >>> loss = mk.MODALoss(alpha=1.0, beta=1.0, gamma=0.3)
        >>> activations = [np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], "float32")]
        >>> objectives = loss.objectives(activations, labels=[0, 0, 1], num_classes=2)
        >>> {name: round(float(value), 2) for name, value in objectives.items()}
        {'affinity': 0.0, 'dispersion': 0.0, 'compactness': 0.5}
        >>> round(float(loss(activations, labels=[0, 0, 1], num_classes=2)), 2)
        0.15

    Source: MODA (ICSE 2026), equations 3, 5, 6 and 7.
    """

    objective_names = ("affinity", "dispersion", "compactness")
    spans_replicas = True

    def __init__(
        self,
        alpha: float = 1.0,
        beta: float = 1.0,
        gamma: float = 0.3,
        averaging: str = "class",
        compactness: str = "unit",
        warmup: str | None = "accuracy",
        reduce: str = "global",
    ):
        for name, weight in (("alpha", alpha), ("beta", beta), ("gamma", gamma)):
            check_weight(name, weight)
        check_choice("averaging", averaging, AVERAGINGS)
        check_choice("compactness", compactness, COMPACTNESS_FORMS)
        check_choice("warmup", warmup, WARMUPS)
        check_choice("reduce", reduce, REDUCTIONS)
        self.alpha = alpha
        self.beta = beta
        self.gamma = gamma
        self.averaging = averaging
        self.compactness = compactness
        self.warmup = warmup
        self.reduce = reduce

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each objective in the loss, by name."""
        return {
            "affinity": self.alpha,
            "dispersion": self.beta,
            "compactness": self.gamma,
        }

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
        """The three objectives, each averaged over the activations.

        Args:
            activations: List of float tensors (B, D), or maps (B, ..., D); an
                `ops.MaskedActivation` for sequences with padding.
            labels: Integers of shape (B,) or (B, 1), or one-hot rows of shape (B, C).
            num_classes: C, the number of classes.
            sample_weight: Optional, shape (B,). Samples of weight 0 belong to no class.
            axes: Axis of the units of each activation; the last by default.
            non_negative: For each activation, whether it is known to have no negative element.

        Returns:
            Dict of float scalars "affinity", "dispersion" and "compactness".

        Raises:
            ValueError: If there is no activation, a label is out of range, or shapes do not fit.
        """
        ids = class_ids(labels, num_classes, sample_weight)
        observed = masked_as_vectors(observations(activations, ids, axes, non_negative))
        if self.is_reduced():
            values = self._table(joint_statistics(observed, ids, num_classes).over_replicas())
        else:
            values = self._values(observed, ids, num_classes)
        means = ops.sum(values, axis=0) / len(observed)
        return {name: means[i] for i, name in enumerate(self.objective_names)}

    def _values(self, observed: Sequence, ids: Any, num_classes: int) -> Any:
        """The objectives of every activation, float (A, 3), of the samples at hand."""
        values = backend.native_objectives(
            observed,
            ids,
            num_classes,
            averages_pairs=self.averaging == "pair",
            unit_divides=self.compactness == "unit",
        )
        if values is None:
            values = self._table(joint_statistics(observed, ids, num_classes))
        return values

    def objectives_of(self, statistics: ClassStatistics) -> dict[str, Any]:
        """The three objectives of one activation.

        Args:
            statistics: Its class statistics, which may be those of several batches, added up.

        Returns:
            Dict of float scalars "affinity", "dispersion" and "compactness".
        """
        values = self._table(JointStatistics.of_one(statistics))[0]
        return {name: values[i] for i, name in enumerate(self.objective_names)}

    def _table(self, statistics: JointStatistics) -> Any:
        """The objectives of every activation, float (A, 3)."""
        columns = [
            affinity(statistics, self.averaging),
            dispersion(statistics, self.averaging),
            compactness(statistics, self.averaging, self.compactness),
        ]
        return ops.stack(columns, axis=-1)

    def get_config(self) -> dict:
        """Constructor arguments."""
        return {
            "alpha": self.alpha,
            "beta": self.beta,
            "gamma": self.gamma,
            "averaging": self.averaging,
            "compactness": self.compactness,
            "warmup": self.warmup,
            "reduce": self.reduce,
        }
