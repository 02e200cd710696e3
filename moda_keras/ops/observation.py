"""A hidden activation's values and metadata: the input of all operations."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any, NamedTuple

from keras import ops


class MaskedActivation(NamedTuple):
    """The values of a hidden activation of sequences, some positions of which are padding.

    It takes the place of a tensor wherever activations are given: only the positions that the mask
    leaves are looked at.

    Attributes:
        values: Float tensor (B, T, ..., D).
        mask: Bool tensor (B, T), or of more leading axes of `values`: True where there is something
            to look at, False where there is padding.

    Examples:
        >>> import numpy as np
        >>> import moda_keras as mk
        >>> values = np.array([[[0.0, 1.0], [5.0, 0.0]]])
        >>> masked = mk.ops.MaskedActivation(values, np.array([[True, False]]))
        >>> mk.ops.activation_frequency(masked, [0], num_classes=1).tolist()
        [[0, 1]]
    """

    values: Any
    mask: Any


class Observation(NamedTuple):
    """The values of one hidden activation.

    Attributes:
        values: Float tensor (B, D), or a map (B, ..., D) whose units are on `axis`.
        axis: Axis of the units.
        non_negative: Whether it is known that no value is negative (as after a ReLU).
        mask: Bool tensor, as of `MaskedActivation`; None if all positions count.
    """

    values: Any
    axis: int
    non_negative: bool = False
    mask: Any = None

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
        axis = self.axis % len(self.values.shape)
        if self.mask is not None:
            check_mask(self.mask, self.values, axis)
        return self._replace(axis=axis)


def observations(
    activations: Sequence,
    ids: Any,
    axes: Sequence[int] | None = None,
    non_negative: Sequence[bool] | None = None,
) -> list[Observation]:
    """Parallel lists as checked observations.

    Args:
        activations: List of arrays or tensors (B, D), or maps (B, ..., D); a `MaskedActivation`
            for one with padding.
        ids: Tensor (B,), from `class_ids`.
        axes: Axis of the units of each activation; the last by default.
        non_negative: For each activation, whether it is known to have no negative element.

    Raises:
        ValueError: If there is no activation, the lists differ in length, or shapes do not fit.
    """
    is_list = isinstance(activations, (list, tuple)) and not _is_masked(activations)
    if not is_list or not activations:
        received = "[]" if isinstance(activations, (list, tuple)) else type(activations)
        raise ValueError(
            "Expected `activations` to be a list of at least one activation. Received: "
            f"activations={received}"
        )
    axes = _one_for_each(activations, "axes", axes, default=-1)
    non_negative = _one_for_each(activations, "non_negative", non_negative, default=False)
    return [
        observation_of(activation, axis, bool(known)).checked(ids)
        for activation, axis, known in zip(activations, axes, non_negative, strict=True)
    ]


def observation_of(activation: Any, axis: int = -1, non_negative: bool = False) -> Observation:
    """An activation as an `Observation`.

    Args:
        activation: Array or tensor, or a `MaskedActivation`.
        axis: Axis of the units.
        non_negative: Whether it is known that no value is negative.

    Raises:
        ValueError: If a mask does not fit.
    """
    if not _is_masked(activation):
        return Observation(ops.convert_to_tensor(activation), axis, non_negative)
    values, mask = map(ops.convert_to_tensor, activation)
    check_mask(mask, values, axis % len(values.shape))
    return Observation(values, axis, non_negative, mask)


def _is_masked(activation: Any) -> bool:
    return isinstance(activation, MaskedActivation)


def check_mask(mask: Any, values: Any, axis: int) -> None:
    """Raises a ValueError if a mask is not one of the leading axes of `values`, up to `axis`."""
    leading = tuple(values.shape)[: len(mask.shape)]
    pairs = zip(mask.shape, leading, strict=False)
    fits = 2 <= len(mask.shape) <= axis and all(
        None in each or each[0] == each[1] for each in pairs
    )
    if not fits:
        raise ValueError(
            "Expected a mask of shape (batch, time) for activations of shape (batch, time, ..., "
            f"units). Received: a mask of shape {tuple(mask.shape)} for activations of shape "
            f"{tuple(values.shape)} with the units on axis {axis}"
        )


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
