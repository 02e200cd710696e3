"""The modular loss of NeMo: one contrastive objective."""

import itertools
import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import keras
import numpy as np

from moda_keras.methods.nemo.contrast import contrast
from moda_keras.ops import class_ids, observations
from moda_keras.ops.activation_vectors import joined_magnitudes
from moda_keras.ops.statistics import membership, normalize
from moda_keras.training.modular_loss import ModularLoss, check_choice, check_weight
from moda_keras.training.warmup import WARMUPS

AGAINST = ("samples", "classes")
FORMS = ("infonce", "released")


@keras.saving.register_keras_serializable(package="moda_keras")
class NeMoLoss(ModularLoss):
    """The modular loss of NeMo: `alpha * contrast`, averaged over the hidden activations.

    Samples of the same class are positives and those of other classes negatives: the loss is low
    where samples of a class use the same units, and other units than the other classes. In a
    `NeMoModel` it looks at the masks of the units; in any other `ModularModel` at the magnitudes of
    the units themselves.

    Args:
        alpha: Float >= 0, weight of the contrast. The authors use 1.0 to 1.8 for CNNs and 0.08 for
            a Transformer.
        temperature: Float > 0, by which similarities are divided; the authors' is 0.2.
        against: "samples" compares each sample of a batch with each, as the authors do: O(B^2 D)
            for B samples. "classes" compares it with the mean vector of each class: O(B C D).
        form: "infonce" is the usual contrastive loss; "released" is the authors' code, which adds
            constants to its sums (`moda_keras.methods.nemo.contrast`).
        warmup: `None` is the authors' loss: the weight is constant. "accuracy" lets the contrast
            set in as the task is learned, as in `MODALoss`.

    Raises:
        ValueError: If an argument is out of range.

    Examples:
        >>> import numpy as np
        >>> from moda_keras.methods import nemo
        >>> loss = nemo.NeMoLoss(temperature=0.2)
        >>> apart = [np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]], "float32")]
        >>> round(float(loss(apart, [0, 0, 1], num_classes=2)), 3)
        0.007
        >>> together = [np.ones((3, 2), "float32")]
        >>> round(float(loss(together, [0, 0, 1], num_classes=2)), 3)
        0.637

    Source: NeMo (arXiv 2508.11348), abstract, and the authors' code.
    """

    objective_names = ("contrast",)

    def __init__(
        self,
        alpha: float = 1.0,
        temperature: float = 0.2,
        against: str = "samples",
        form: str = "infonce",
        warmup: str | None = None,
    ):
        check_weight("alpha", alpha)
        if not _is_number(temperature) or not 0 < temperature < math.inf:
            raise ValueError(
                f"Expected `temperature` to be a number > 0. Received: temperature={temperature!r}"
            )
        check_choice("against", against, AGAINST)
        check_choice("form", form, FORMS)
        check_choice("warmup", warmup, WARMUPS)
        self.alpha = alpha
        self.temperature = temperature
        self.against = against
        self.form = form
        self.warmup = warmup

    @property
    def weights(self) -> dict[str, float]:
        """The weight of the contrast."""
        return {"contrast": self.alpha}

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
        """The contrast, averaged over the activations; args as in `ModularLoss.objectives`."""
        ids = class_ids(labels, num_classes, sample_weight)
        observed = observations(activations, ids, axes, non_negative)
        magnitudes = joined_magnitudes(observed)
        units = [observation.units for observation in observed]
        vectors, _ = normalize(magnitudes, membership(units, magnitudes.dtype))
        ends = np.cumsum((0, *units)).tolist()
        values = [
            contrast(
                vectors[:, start:end],
                ids,
                num_classes,
                temperature=self.temperature,
                against=self.against,
                form=self.form,
            )
            for start, end in itertools.pairwise(ends)
        ]
        return {"contrast": sum(values) / len(values)}

    def get_config(self) -> dict:
        """Constructor arguments."""
        return {
            "alpha": self.alpha,
            "temperature": self.temperature,
            "against": self.against,
            "form": self.form,
            "warmup": self.warmup,
        }


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
