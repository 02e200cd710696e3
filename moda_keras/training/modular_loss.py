"""The interface of `compile(modular_loss=...)`."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any


class ModularLoss(ABC):
    """A weighted sum of objectives of hidden activations, added to the task loss in training.

    `ModularModel`, its metrics, the reader of training histories and the diagnosis ask a loss for
    the names and the weights of its objectives. `MODALoss` is the first of several.

    Subclasses define `objective_names`, `weights`, `objectives` and `get_config`, and register
    themselves with Keras, so that a compiled model can be saved.

    Attributes:
        objective_names: Names of the objectives, as they appear in the logs of `fit`.
        spans_replicas: Whether the objectives are those of the global batch where replicas train
            on parts of it. Where not, training warns.
    """

    objective_names: tuple[str, ...] = ()
    spans_replicas: bool = False

    @property
    @abstractmethod
    def weights(self) -> dict[str, float]:
        """The weight of each objective in the loss, by name."""

    @abstractmethod
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
        """The objectives of a batch.

        Args:
            activations: List of float tensors (B, D), or maps (B, ..., D).
            labels: Integers of shape (B,) or (B, 1), or one-hot rows of shape (B, C).
            num_classes: C, the number of classes.
            sample_weight: Optional, shape (B,). Samples of weight 0 belong to no class.
            axes: Axis of the units of each activation; the last by default.
            non_negative: For each activation, whether it is known to have no negative element.

        Returns:
            Dict of float scalars, one for each of `objective_names`.
        """

    @abstractmethod
    def get_config(self) -> dict:
        """Constructor arguments."""

    @classmethod
    def from_config(cls, config: dict) -> "ModularLoss":
        """Builds the loss from its config."""
        return cls(**config)

    def training_factor(self, labels: Any, outputs: Any, sample_weight: Any = None) -> Any:
        """What the weighted objectives of a training step are multiplied by; 1 unless overridden.

        Args:
            labels: As of `objectives`.
            outputs: Float tensor (B, C), the model's output for the batch.
            sample_weight: Optional, shape (B,).

        Returns:
            Float, or a float scalar without gradient.
        """
        return 1.0

    def weighted_sum(self, objectives: dict[str, Any]) -> Any:
        """The sum of the objectives times their weights.

        Args:
            objectives: Dict of scalars, as `objectives` returns them.

        Returns:
            Float scalar.
        """
        return sum(weight * objectives[name] for name, weight in self.weights.items())

    def __call__(self, activations: Sequence, labels: Any, num_classes: int, **kwargs) -> Any:
        """The weighted sum of the objectives; arguments as in `objectives`."""
        return self.weighted_sum(self.objectives(activations, labels, num_classes, **kwargs))
