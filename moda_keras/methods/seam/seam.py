"""Re-engineers a trained model for a target task, by gradient."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np

from moda_keras.graph import HiddenActivation
from moda_keras.methods.mask_search import MaskSearch
from moda_keras.methods.mask_training import Phase
from moda_keras.methods.seam.loss import reengineering_loss
from moda_keras.methods.search import SearchProblem
from moda_keras.methods.search_state import SearchState
from moda_keras.modules.class_names import class_indices
from moda_keras.modules.module_set import ModuleSet

# One epoch of heads alone, then four of masks and heads.
CYCLE = 5


class SeaM(MaskSearch):
    """SeaM: the units that a target task needs, and a head for it.

    The target task is one class against the rest, or to tell a set of classes apart. The paper
    masks single weights; here masks are of units, which a smaller model can leave out. A head
    (C inputs, one output for each answer) is trained with them, by `reengineering_loss`.

    With `classes=None` there is a search for each class, all in one pass: an epoch costs 2 * N
    forward and backward passes of the model, for N samples in equal classes, whatever C is. With a
    sub-task, as many as its classes have samples. A batch holds `batch_size` rows of each search.

    Args:
        epochs: Int. One in five trains heads alone.
        classes: Class indices or names of a sub-task; by default, each class against the rest. A
            single class is a search against the rest too.
        alpha: Float >= 0, the weight of the share of units.
        learning_rate: Float > 0, of the masks' scores, which start at 1. A unit is dropped at 0.
        head_learning_rate: Float > 0, of the head.
        head: Whether there is a head. Without, outputs are the model's own logits (for the rest of
            the classes, their log-sum-exp), which is what `compose` reads; all epochs train masks.
        samples: How many samples of each class to use: an int >= 2, a float in (0, 1] for that
            fraction, or None for all.
        validation: Float in (0, 1), the fraction of these that chooses the best epoch.
        max_accuracy_loss: Float >= 0. The units are those of the epoch with the fewest among those
            that lose no more accuracy against the whole model at the task; if there is none, of the
            epoch with the largest difference of accuracy and share of units.
        seed: Int >= 0.

    Examples:
        >>> import numpy as np
        >>> import moda_keras as mk
        >>> model = mk.zoo.lenet5((28, 28, 1), classes=3)
        >>> x, y = np.random.default_rng(0).random((6, 28, 28, 1)), np.arange(6) % 3
        >>> search = mk.methods.seam.SeaM(epochs=4, learning_rate=0.5, classes=[2, 0])
        >>> search.decompose(model, x, y, verbose=0).subtask
        (2, 0)

    Source: Qi et al., "Reusing Deep Neural Network Models through Model Re-engineering", ICSE 2023,
    and the authors' code.
    """

    name = "seam"
    output_activation = "softmax"

    def __init__(
        self,
        epochs: int = 300,
        *,
        classes: Sequence[int | str] | None = None,
        alpha: float = 1.0,
        learning_rate: float = 0.01,
        head_learning_rate: float = 0.1,
        head: bool = True,
        samples: int | float | None = None,
        validation: float = 0.2,
        max_accuracy_loss: float = 0.0,
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
        is_list = isinstance(classes, Iterable) and not isinstance(classes, str)
        self.classes = [_plain(each) for each in classes] if is_list else classes

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "classes": self.classes}

    def check(self, model: keras.Model, x: Any, y: Any, **options: Any) -> SearchProblem:
        problem = super().check(model, x, y, **options)
        self._subtask(problem)
        return problem

    def masked_activations(self, problem: SearchProblem) -> list[HiddenActivation]:
        return problem.hidden

    def tasks(self, problem: SearchProblem) -> np.ndarray:
        """Of one class: 0 for it, 1 for the rest. Of a sub-task: positions in it."""
        subtask = self._subtask(problem)
        if subtask is None:
            return 1 - np.eye(problem.classes, dtype="int64")
        if len(subtask) == 1:
            return (np.arange(problem.classes) != subtask[0]).astype("int64")[None]
        tasks = np.full((1, problem.classes), -1)
        tasks[0, subtask] = np.arange(len(subtask))
        return tasks

    def members(self, tasks: np.ndarray) -> np.ndarray:
        return tasks[..., None] == np.arange(tasks.max() + 1)

    def hidden_head_units(self, problem: SearchProblem) -> tuple[int, ...]:
        return ()

    def starting_score(self) -> float:
        """1 at the masks' own learning rate.

        The sign alone of a score counts. At the heads' learning rate, one that starts at
        `head_learning_rate / learning_rate` changes its sign when the paper's does.
        """
        return self.phase(1).rate / self.learning_rate

    def phase(self, index: int) -> Phase:
        if not self.head:
            return Phase(True, self.learning_rate)
        return Phase(index % CYCLE != 0, self.head_learning_rate)

    def loss(self, outputs: Any, labels: Any, shares: Any) -> Any:
        return reengineering_loss(outputs, labels, shares, self.alpha)

    def draw(self, y: np.ndarray, tasks: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """All samples of a sub-task; those of one class, and as many others."""
        is_against_rest = self.classes is None or len(self.classes) == 1
        if not is_against_rest:
            return random.permutation(np.flatnonzero(tasks[0][y] >= 0))[None]
        drawn = [_balanced(task[y], random) for task in tasks]
        longest = max(map(len, drawn))
        return np.stack([np.resize(each, longest) for each in drawn])

    def judge(
        self, outputs: np.ndarray, labels: np.ndarray, shares: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        return (outputs.argmax(axis=-1) == labels).mean(axis=1), shares

    def worth(self, accuracy: np.ndarray, shares: np.ndarray) -> np.ndarray:
        return accuracy - shares

    def module_set(self, problem: SearchProblem, state: SearchState) -> ModuleSet:
        subtask = self._subtask(problem)
        if subtask is None:
            return super().module_set(problem, state)
        chosen = np.isin(np.arange(problem.classes), subtask)[:, None]
        found = self.units(problem, state)
        whole = ModuleSet.from_units(problem.model, {}, problem.class_names)
        units = {
            name: chosen & found[name][0] if name in found else table & chosen
            for name, table in whole.units.items()
        }
        return whole.with_units(units, subtask=subtask)

    def _subtask(self, problem: SearchProblem) -> list[int] | None:
        if self.classes is None:
            return None
        return class_indices(self.classes, problem.class_names)


def _plain(key: Any) -> Any:
    """A class as JSON can hold it: NumPy's integers are none of Python's."""
    return key.item() if isinstance(key, np.generic) else key


def _balanced(labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Positions of all labels 0, and of as many labels 1, as far as there are, in random order."""
    of_class, rest = (random.permutation(np.flatnonzero(labels == label)) for label in (0, 1))
    return random.permutation(np.concatenate([of_class, rest[: len(of_class)]]))
