"""A hidden activation's values and metadata: the input of all operations."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any, NamedTuple

from keras import ops


class Observation(NamedTuple):
    """The values of one hidden activation.

    Attributes:
        values: Float tensor (B, D), or a map (B, ..., D) whose units are on `axis`.
        axis: Axis of the units.
        non_negative: Whether it is known that no value is negative (as after a ReLU).
    """

    values: Any
    axis: int = -1
    non_negative: bool = False

    @property
    def units(self) -> int:
        """D, the number of units."""
        return self.values.shape[self.axis]

    @property
    def positions(self) -> tuple[int, ...]:
        """The axes of a map that hold neither samples nor units.

        Raises:
            ValueError: If the shape or the axis does not fit.
        """
        rank = len(self.values.shape)
        is_int = isinstance(self.axis, Integral)
        if not is_int or rank < 2 or not -rank < self.axis < rank or self.axis % rank == 0:
            raise ValueError(
                "Expected activations of shape (batch, units) or (batch, ..., units) with the "
                f"units on `axis`. Received: activations of shape {tuple(self.values.shape)}, "
                f"axis={self.axis!r}"
            )
        return tuple(i for i in range(1, rank) if i != self.axis % rank)

    def checked(self, ids: Any) -> "Observation":
        """The same with a positive axis.

        Args:
            ids: Tensor (B,), from `class_ids`.

        Raises:
            ValueError: If the shape does not fit, or there is not one label for each sample.
        """
        self.positions  # noqa: B018
        check_one_label_each(ids, self.values)
        return self._replace(axis=self.axis % len(self.values.shape))


def observations(
    activations: Sequence,
    ids: Any,
    axes: Sequence[int] | None = None,
    non_negative: Sequence[bool] | None = None,
) -> list[Observation]:
    """Parallel lists as checked observations.

    Args:
        activations: List of arrays or tensors (B, D), or maps (B, ..., D).
        ids: Tensor (B,), from `class_ids`.
        axes: Axis of the units of each activation; the last by default.
        non_negative: For each activation, whether it is known to have no negative element.

    Raises:
        ValueError: If there is no activation, the lists differ in length, or shapes do not fit.
    """
    if not isinstance(activations, (list, tuple)) or not activations:
        received = "[]" if isinstance(activations, (list, tuple)) else type(activations)
        raise ValueError(
            "Expected `activations` to be a list of at least one activation. Received: "
            f"activations={received}"
        )
    axes = _one_for_each(activations, "axes", axes, default=-1)
    non_negative = _one_for_each(activations, "non_negative", non_negative, default=False)
    return [
        Observation(ops.convert_to_tensor(activation), axis, bool(known)).checked(ids)
        for activation, axis, known in zip(activations, axes, non_negative, strict=True)
    ]


def check_one_label_each(ids: Any, rows: Any) -> None:
    """Raises a ValueError if the labels `ids` (B,) are not as many as the `rows` (B, ...)."""
    if len(ids.shape) != 1:
        raise ValueError(
            f"Expected class indices of shape (batch,). Received: shape {tuple(ids.shape)}"
        )
    if None not in (ids.shape[0], rows.shape[0]) and ids.shape[0] != rows.shape[0]:
        raise ValueError(
            "Expected one label for each sample. Received: "
            f"{ids.shape[0]} labels for {rows.shape[0]} samples"
        )


def _one_for_each(activations: Sequence, name: str, values: Sequence | None, default: Any) -> list:
    values = [default] * len(activations) if values is None else values
    if not isinstance(values, (list, tuple)) or len(values) != len(activations):
        raise ValueError(
            f"Expected `{name}` to have one entry for each of the {len(activations)} activations. "
            f"Received: {name}={values}"
        )
    return list(values)
