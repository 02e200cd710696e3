"""The interface of `compile(modular_loss=...)`."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from numbers import Real
from typing import Any

from moda_keras.ops.backends import backend
from moda_keras.training.warmup import recognition


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
        warmup: "accuracy" lets the objectives set in as the task is learned; None for constant
            weights.
        reduce: "global" for the objectives of the whole batch under replicas, where they span
            these; "replica" for those of each part.
    """

    objective_names: tuple[str, ...] = ()
    spans_replicas: bool = False
    warmup: str | None = None
    reduce: str = "global"

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
        """What the weighted objectives of a training step are multiplied by.

        Args:
            labels: As of `objectives`.
            outputs: Float tensor (B, C), the model's output for the batch.
            sample_weight: Optional, shape (B,). Samples of weight 0 do not count.

        Returns:
            With `warmup="accuracy"`, how far the batch is recognised better than by guessing, a
            float scalar in [0, 1] without gradient (`moda_keras.training.warmup.recognition`).
            Without a warm-up: 1.
        """
        if self.warmup is None:
            return 1.0
        return recognition(labels, outputs, sample_weight, over_replicas=self.is_reduced())

    def is_reduced(self) -> bool:
        """Whether sums are taken over several replicas in the current step."""
        return self.spans_replicas and self.reduce == "global" and backend.replicas() > 1

    def weighted_sum(self, objectives: dict[str, Any]) -> Any:
        """The sum of the objectives times their weights.

        Args:
            objectives: Dict of scalars, as `objectives` returns them.

        Returns:
            Float scalar.

        Raises:
            ValueError: If `objectives`, `objective_names` and `weights` do not have the same names.
        """
        names = {*self.objective_names}
        if {*objectives} != names or {*self.weights} != names:
            raise ValueError(
                f"Expected `objectives` and `weights` of {type(self).__name__} to have the names "
                f"in `objective_names`, {list(self.objective_names)}. Received: objectives "
                f"{list(objectives)}, weights {list(self.weights)}"
            )
        return sum(weight * objectives[name] for name, weight in self.weights.items())

    def __call__(self, activations: Sequence, labels: Any, num_classes: int, **kwargs) -> Any:
        """The weighted sum of the objectives; arguments as in `objectives`."""
        return self.weighted_sum(self.objectives(activations, labels, num_classes, **kwargs))


def check_weight(name: str, weight: Any) -> None:
    """Raises ValueError if the weight of an objective is no number >= 0."""
    is_number = isinstance(weight, Real) and not isinstance(weight, bool)
    if not is_number or not 0 <= weight < math.inf:
        raise ValueError(f"Expected `{name}` to be a number >= 0. Received: {name}={weight!r}")


def check_choice(name: str, value: Any, choices: tuple) -> None:
    """Raises ValueError if an argument is none of the choices."""
    if value not in choices:
        raise ValueError(f"Expected `{name}` to be one of {choices}. Received: {name}={value!r}")
