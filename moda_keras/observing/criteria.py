"""Criteria: what tells how much a class depends on a unit."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from keras import ops

from moda_keras.ops import Observation, position_means

FREQUENCY = "frequency"


class Criterion(ABC):
    """How much a class depends on each unit, from sums over the class's samples.

    `moda_keras.decompose(..., criterion=)` takes an instance of a subclass. It observes every
    hidden activation, batch by batch, and says in the end what the sums mean.

    Attributes:
        name: Str, kept with the modules.
        sums: Number of tensors that `observe` returns.
        needs_gradients: Whether `observe` is given gradients of the loss. It costs a backward pass.

    Examples:
        The mean magnitude of a unit's activation:

        >>> import moda_keras as mk
        >>> class Magnitude(mk.criteria.Criterion):
        ...     name = "magnitude"
        ...     def observe(self, activation, gradients):
        ...         values, axis = activation.values, activation.axis
        ...         return [mk.ops.unit_magnitudes(values, axis=axis, mask=activation.mask)]
        ...     def importance(self, sums, samples, outgoing):
        ...         return sums[0] / samples[:, None]
    """

    name: str
    sums = 1
    needs_gradients = False

    @abstractmethod
    def observe(self, activation: Observation, gradients: Any) -> Sequence[Any]:
        """What of a batch is summed over the samples of each class.

        Args:
            activation: A hidden activation: float tensor (B, D) or map (B, ..., D), and the axis of
                its units. Of a recurrent layer the output. Of sequences with padding, `mask` tells
                the positions that count.
            gradients: Float32 tensor (B, D): for each sample, the derivative of its loss with
                respect to a factor 1 at each unit, at all positions. None unless `needs_gradients`.

        Returns:
            `sums` float tensors (B, D).
        """

    @abstractmethod
    def importance(
        self, sums: Sequence[np.ndarray], samples: np.ndarray, outgoing: np.ndarray
    ) -> np.ndarray:
        """What the sums over the whole data mean.

        Args:
            sums: `sums` float64 arrays (C, D).
            samples: Int64 array (C,), the samples of each class; 1 for a class that has none.
            outgoing: Float64 array (D,): the L2 norm of the weights that read each unit.

        Returns:
            Float array (C, D) of numbers >= 0.
        """


class LossChange(Criterion):
    """The mean magnitude of the change of a sample's loss if the unit were zero, to first order.

    Source: Molchanov et al., "Importance Estimation for Neural Network Pruning" (CVPR 2019), with a
    gate on each unit; taken for each sample and averaged by class.
    """

    name = "importance"
    needs_gradients = True

    def observe(self, activation, gradients):
        return [ops.abs(gradients)]

    def importance(self, sums, samples, outgoing):
        return sums[0] / samples[:, np.newaxis]


class Variance(Criterion):
    """The variance of the activation within a class, times the norm of the weights that read it.

    Of a map, the variance over samples and positions. A unit that is constant within a class tells
    nothing about its samples. No gradient is needed. Sums are float32: a standard deviation below a
    thousandth of the mean counts as noise.

    Source: the criterion "fluctuation" of An et al., "Fluctuation-based Adaptive Structured Pruning
    for Large Language Models" (AAAI 2024), taken by class.
    """

    name = "variance"
    sums = 2

    def observe(self, activation, gradients):
        values = ops.cast(activation.values, "float32")
        return [
            position_means(each, axis=activation.axis, mask=activation.mask)
            for each in (values, ops.square(values))
        ]

    def importance(self, sums, samples, outgoing):
        mean, square = (each / samples[:, np.newaxis] for each in sums)
        return np.maximum(square - mean**2, 0) * outgoing


# The library's criteria by name. "frequency", the default of `decompose`, has no importance.
CRITERIA: Mapping[str, Criterion] = MappingProxyType(
    {each.name: each for each in (LossChange(), Variance())}
)
_OF_USERS: dict[str, Criterion] = {}


def register_criterion(criterion: Criterion) -> Criterion:
    """Makes a criterion of your own known by its name, which is what modules keep of it.

    `decompose` does so with the instance that it is given. Where modules are loaded from a file,
    register it before `modules.within(..., calibration_data=)`, which measures importance again.

    Args:
        criterion: Instance of a subclass of `Criterion`. It takes the place of one of that name.

    Returns:
        The criterion.

    Raises:
        ValueError: If it is no such instance, or has the name of one of the library's.
    """
    if not isinstance(criterion, Criterion) or not isinstance(getattr(criterion, "name", 0), str):
        raise ValueError(
            "Expected an instance of a subclass of `moda_keras.criteria.Criterion` with a `name`. "
            f"Received: criterion={criterion!r}"
        )
    if criterion.name == FREQUENCY or type(CRITERIA.get(criterion.name, criterion)) is not type(
        criterion
    ):
        raise ValueError(
            f"Expected a name other than those of the library's criteria, {[FREQUENCY, *CRITERIA]}."
            f" Received: a criterion of class {type(criterion).__name__} with the name "
            f"{criterion.name!r}"
        )
    _OF_USERS[criterion.name] = criterion
    return criterion


def find_criterion(criterion: Any) -> Criterion | None:
    """The criterion that the argument of `decompose` means; None for "frequency".

    Args:
        criterion: Name or `Criterion`.

    Returns:
        `Criterion` or None.

    Raises:
        ValueError: If it is neither.
    """
    if isinstance(criterion, Criterion):
        return register_criterion(criterion)
    if isinstance(criterion, str) and criterion in (FREQUENCY, *CRITERIA, *_OF_USERS):
        return (_OF_USERS | CRITERIA).get(criterion)
    raise ValueError(
        f"Expected `criterion` to be one of {[FREQUENCY, *CRITERIA]} or an instance of a subclass "
        f"of `moda_keras.criteria.Criterion`. Received: criterion={criterion!r}. If that is the "
        "name of one of your own, make it known first: "
        "`moda_keras.criteria.register_criterion(MyCriterion())`"
    )
