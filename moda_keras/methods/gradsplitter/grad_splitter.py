"""Splits a trained CNN into one module for each class, by gradient."""

from typing import Any

import numpy as np
from keras import ops

from moda_keras.graph import HiddenActivation
from moda_keras.methods.gradsplitter.loss import composed_loss
from moda_keras.methods.mask_search import MaskSearch
from moda_keras.methods.mask_training import Phase
from moda_keras.methods.search import SearchProblem

# First heads alone, then masks and heads in turn with heads alone; so many epochs each.
STARTING, JOINT, HEADS = 5, 5, 2
HIDDEN_UNITS = 10


class GradSplitter(MaskSearch):
    """GradSplitter: masks over the filters of a trained CNN, with a head for each class.

    Each class has a binary mask over the filters of all convolutional layers, and a head: C inputs,
    10 hidden units, one output behind a sigmoid. All modules see all samples. Masks and heads are
    trained together by `composed_loss`, that is by how well the largest output tells the class and
    how few filters stay; in between, heads alone.

    An epoch of masks costs N * C forward and backward passes of the model, for N samples; one of
    heads alone N * C forward passes. A batch holds `batch_size` * C rows.

    Args:
        epochs: Int. Those of the paper: 5 for heads, then 28 times 5 for masks and heads and 2 for
            heads.
        alpha: Float >= 0, the weight of the share of filters.
        learning_rate: Float > 0, of masks and heads together. Scores start at 1, and a filter is
            dropped at 0: a small budget needs a higher rate than the paper's.
        head_learning_rate: Float > 0, of heads in the first epochs, a tenth of it later.
        head: Whether modules have heads. Without, a module's output is its own logit, so that
            `moda_keras.side_by_side` gives the model that was trained; all epochs train masks.
        samples: How many samples of each class to use: an int >= 2, a float in (0, 1] for that
            fraction, or None for all.
        validation: Float in (0, 1), the fraction of these that chooses the best epoch.
        max_accuracy_loss: Float >= 0. The modules are those of the epoch with the fewest filters
            among those that lose no more accuracy against the model; if there is none, of the most
            accurate epoch.
        seed: Int >= 0.

    Examples:
        >>> import numpy as np
        >>> import moda_keras as mk
        >>> model = mk.zoo.lenet5((28, 28, 1), classes=3)
        >>> x, y = np.random.default_rng(0).random((6, 28, 28, 1)), np.arange(6) % 3
        >>> search = mk.methods.gradsplitter.GradSplitter(epochs=6, learning_rate=1.1)
        >>> search.decompose(model, x, y, verbose=0).num_classes
        3

    Source: Qi et al., "Reusing Convolutional Neural Network Models through Modularization and
    Composition", TOSEM 2023, and the authors' code.
    """

    name = "gradsplitter"
    needs_maps = True
    output_activation = "sigmoid"

    def __init__(
        self,
        epochs: int = 145,
        *,
        alpha: float = 0.1,
        learning_rate: float = 0.001,
        head_learning_rate: float = 0.01,
        head: bool = True,
        samples: int | float | None = None,
        validation: float = 0.2,
        max_accuracy_loss: float = 0.01,
        seed: int = 0,
    ):
        super().__init__(
            epochs=epochs,
            alpha=alpha,
            learning_rate=learning_rate,
            head_learning_rate=head_learning_rate,
            head=head,
            samples=samples,
            validation=validation,
            max_accuracy_loss=max_accuracy_loss,
            seed=seed,
        )

    def masked_activations(self, problem: SearchProblem) -> list[HiddenActivation]:
        return problem.maps

    def tasks(self, problem: SearchProblem) -> np.ndarray:
        return np.tile(np.arange(problem.classes), (problem.classes, 1))

    def members(self, tasks: np.ndarray) -> np.ndarray:
        return np.eye(len(tasks), dtype=bool)[..., None]

    def hidden_head_units(self, problem: SearchProblem) -> tuple[int, ...]:
        return (HIDDEN_UNITS,)

    def starting_score(self) -> float:
        return 1.0

    def phase(self, index: int) -> Phase:
        if not self.head:
            return Phase(True, self.learning_rate)
        if index < STARTING:
            return Phase(False, self.head_learning_rate)
        place = (index - STARTING) % (JOINT + HEADS)
        if place < JOINT:
            return Phase(True, self.learning_rate, is_fresh=place == 0)
        return Phase(False, self.head_learning_rate / 10, is_fresh=place == JOINT)

    def loss(self, outputs: Any, labels: Any, shares: Any) -> Any:
        outputs = ops.transpose(outputs[..., 0])
        # As the authors do: probabilities, not logits, go into the cross-entropy.
        outputs = ops.sigmoid(outputs) if self.head else outputs
        return composed_loss(outputs, labels[0], shares, self.alpha)

    def draw(self, y: np.ndarray, tasks: np.ndarray, random: np.random.Generator) -> np.ndarray:
        return np.tile(random.permutation(len(y)), (len(tasks), 1))

    def judge(
        self, outputs: np.ndarray, labels: np.ndarray, shares: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """One accuracy and one share for all modules: they are chosen together."""
        accuracy = np.mean(outputs[..., 0].argmax(axis=0) == labels[0])
        return np.full(len(shares), accuracy), np.full(len(shares), shares.mean())

    def worth(self, accuracy: np.ndarray, shares: np.ndarray) -> np.ndarray:
        return accuracy
