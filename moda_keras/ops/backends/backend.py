"""The framework features that moda_keras needs beyond public `keras.ops`."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import keras
import numpy as np

from moda_keras.ops.native import choice
from moda_keras.ops.observation import Observation


class Backend(ABC):
    """One framework's part of the library; the only place that imports the framework.

    Attributes:
        has_tap: Whether `tap` is worth its place. Where the framework adds or fuses the gradient of
            the objectives without writing it to memory, it is not.
    """

    has_tap = False

    # ------------------------------------------------------------------------------- tensors

    @abstractmethod
    def segment_sum(self, rows: Any, segment_ids: Any, num_segments: int) -> Any:
        """Sums of the rows of each segment; differentiable.

        Args:
            rows: Tensor (B, D).
            segment_ids: int32 tensor (B,), from 0 to `num_segments - 1`.
            num_segments: S.

        Returns:
            Tensor (S, D), dtype of the rows.
        """

    @abstractmethod
    def matmul(self, a: Any, b: Any) -> Any:
        """The product of two matrices in their own precision, float64 included.

        `keras.ops.matmul` rounds float64 to float32 with PyTorch, and float32 to less with JAX on
        an accelerator.
        """

    @abstractmethod
    def gradients(
        self, function: Callable[[list], tuple[Any, Any]], values: Sequence
    ) -> tuple[list, Any]:
        """The gradients of a scalar, also where the framework records none, as in `evaluate`.

        Args:
            function: Given the values as a list, returns the scalar and a structure of further
                tensors.
            values: Float tensors.

        Returns:
            The gradient by each value, zero where the scalar does not depend on it; and the further
            tensors.
        """

    @abstractmethod
    def as_concrete(self, values: Any) -> np.ndarray | None:
        """`values` as a NumPy array; None if unknown, or on a device that we must not wait for."""

    def check_in_graph(self, condition: Any, message: str) -> None:
        """Makes a graph raise when it runs and `condition` is false, where graphs can raise."""
        return

    # -------------------------------------------------------------------------------- models

    def keep_variables(self, model: keras.Model) -> AbstractContextManager:
        """Keeps a model's variables if a step raises. Only JAX takes them away while it trains."""
        return nullcontext()

    def without_gradients(self) -> AbstractContextManager:
        """Computes without a record for gradients. Only PyTorch keeps one of its own accord."""
        return nullcontext()

    def without_custom_gradients(self) -> AbstractContextManager:
        """Raises a TypeError where a function with a gradient of its own gets a symbolic tensor.

        Only PyTorch would let it through, without the gradient.
        """
        return nullcontext()

    def tap(self, activation: Any, axis: int, non_negative: bool) -> tuple[Any, Any]:
        """Lets an activation through and reads its activation vectors off.

        Args:
            activation: Float map (B, ..., D).
            axis: Axis of the units.
            non_negative: Promise that no element is negative.

        Returns:
            The activation, and the mean magnitude of every unit (B, D), float32 or float64.
        """
        raise NotImplementedError(f"{type(self).__name__} has no tap.")

    def random_state(self) -> dict[str, np.ndarray]:
        """The generators that the whole process shares, as uint8 arrays; only PyTorch has any."""
        return {}

    def set_random_state(self, state: dict[str, np.ndarray]) -> None:
        """Sets those generators to what `random_state` returned, as far as they are here."""
        del state  # there are none

    @abstractmethod
    def accelerator_name(self) -> str | None:
        """Name of the GPU or TPU in use; None without one."""

    # ------------------------------------------------------------------------ several devices

    def replicas(self) -> int:
        """Number of replicas that train together here, each on its part of a batch.

        1 where the backend itself makes one global batch of the parts, as JAX does.
        """
        return 1

    def all_reduce_sum(self, values: Any) -> Any:
        """The sum of a tensor over all replicas, differentiable; one collective operation.

        Args:
            values: Float tensor, of the same shape in all replicas.
        """
        return values

    @property
    def divides_loss_by_replicas(self) -> bool:
        """Whether Keras divides the task loss by the number of replicas, and sums gradients."""
        return False

    # ---------------------------------------------------------------------- native operations

    @abstractmethod
    def native_devices(self) -> dict[str, str | None]:
        """Each device of the framework, and why the native operations are not used, or None."""

    @abstractmethod
    def native_objectives(
        self,
        observed: Sequence[Observation],
        ids: Any,
        num_classes: int,
        *,
        averages_pairs: bool,
        unit_divides: bool,
    ) -> Any | None:
        """The three objectives of every activation (A, 3); None to use the reference.

        Args:
            observed: From `observations`.
            ids: int32 tensor (B,), from `class_ids`.
            num_classes: C, the number of classes.
            averages_pairs: `averaging="pair"` of `MODALoss`.
            unit_divides: `compactness="unit"` of `MODALoss`.
        """

    @abstractmethod
    def native_statistics(
        self, observed: Sequence[Observation], ids: Any, num_classes: int
    ) -> tuple[Any, ...] | None:
        """The tensors of a `JointStatistics`; None to use the reference."""

    @abstractmethod
    def native_counts(
        self,
        observed: Sequence[Observation],
        ids: Any,
        num_classes: int,
        epsilons: Sequence[Any],
    ) -> tuple[list, Any] | None:
        """What `activation_counts` returns; None to use the reference."""


class ReferenceBackend(Backend):
    """A backend without native operations.

    Attributes:
        reason: Why it needs none.
    """

    reason: str

    def native_devices(self) -> dict[str, str | None]:
        return {"any device": self.reason}

    def _reference(self, *args, **kwargs) -> None:
        """None; raises if the native operations are required."""
        choice.is_native(self.reason)

    native_objectives = native_statistics = native_counts = _reference
