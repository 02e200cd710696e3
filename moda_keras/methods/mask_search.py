"""What the searches by gradient have in common: epochs of mask training, the best one kept."""

import warnings
from abc import abstractmethod
from collections.abc import Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import keras
import numpy as np

from moda_keras.graph import HiddenActivation
from moda_keras.methods.headed_module import headed_module
from moda_keras.methods.mask_training import MaskTraining, Phase, batches, head_key, score_key
from moda_keras.methods.search import Search, SearchProblem, check_positive, check_samples
from moda_keras.methods.search_state import SearchState
from moda_keras.methods.trained_masks import Heads, LogitGroups
from moda_keras.modules.module import require_logits
from moda_keras.modules.module_set import ModuleSet
from moda_keras.observing.labelled_arrays import draw_of_each_class


class MaskSearch(Search):
    """A search by gradient for binary masks over the units of a frozen model.

    Each of S modules has a mask over the units of hidden activations and, with `head`, a small
    dense network behind all C logits. A round is an epoch. After each, modules are measured on
    samples that are kept out of training, and the best so far are kept.

    Subclasses define what the tasks are, what is trained when, and the loss.

    Args:
        epochs: Int, the number of epochs.
        alpha: Float >= 0, the weight of the share of units that stay.
        learning_rate: Float > 0, of the masks' scores, which start at 1.
        head_learning_rate: Float > 0, of the heads.
        head: Whether modules have heads. Without, the loss is that of the modules' own logits.
        samples: How many samples of each class to use: an int, a float in (0, 1] for that fraction,
            or None for all.
        validation: Float in (0, 1), the fraction of these that chooses the best epoch.
        max_accuracy_loss: Float >= 0. Of the epochs that lose no more accuracy than this against
            the trained model, the one with the fewest units is best.
        seed: Int >= 0.
    """

    output_activation: str

    def __init__(
        self,
        *,
        epochs: int,
        alpha: float,
        learning_rate: float,
        head_learning_rate: float,
        head: bool,
        samples: int | float | None,
        validation: float,
        max_accuracy_loss: float,
        seed: int,
    ):
        super().__init__(seed=seed)
        check_positive(epochs=epochs)
        _check_real(alpha=alpha, max_accuracy_loss=max_accuracy_loss)
        _check_real(
            is_above=True, learning_rate=learning_rate, head_learning_rate=head_learning_rate
        )
        _check_real(is_above=True, below=1, validation=validation)
        self.epochs = int(epochs)
        self.alpha = alpha
        self.learning_rate = learning_rate
        self.head_learning_rate = head_learning_rate
        self.head = bool(head)
        self.samples = check_samples(samples, least=2)
        self.validation = validation
        self.max_accuracy_loss = max_accuracy_loss
        self._training: MaskTraining | None = None

    def get_config(self) -> dict[str, Any]:
        return {
            "epochs": self.epochs,
            "alpha": self.alpha,
            "learning_rate": self.learning_rate,
            "head_learning_rate": self.head_learning_rate,
            "head": self.head,
            "samples": self.samples,
            "validation": self.validation,
            "max_accuracy_loss": self.max_accuracy_loss,
            "seed": self.seed,
        }

    # --------------------------------------------------------------------- what methods define

    @abstractmethod
    def masked_activations(self, problem: SearchProblem) -> list[HiddenActivation]:
        """The hidden activations whose units may be dropped; the others stay whole."""

    @abstractmethod
    def tasks(self, problem: SearchProblem) -> np.ndarray:
        """Int array (S, C): the label of each class in the task of each module; -1 for none."""

    @abstractmethod
    def members(self, tasks: np.ndarray) -> np.ndarray:
        """Bool array (S, C, K): the classes of each output."""

    @abstractmethod
    def hidden_head_units(self, problem: SearchProblem) -> tuple[int, ...]:
        """The numbers of units of a head's hidden layers."""

    @abstractmethod
    def starting_score(self) -> float:
        """What all scores start from, at the learning rate of the phases."""

    @abstractmethod
    def phase(self, index: int) -> Phase:
        """What epoch `index` trains."""

    @abstractmethod
    def loss(self, outputs: Any, labels: Any, shares: Any) -> Any:
        """The loss, of tensors (S, b, K), (S, b) and (S,): the share of units of each module."""

    @abstractmethod
    def draw(self, y: np.ndarray, tasks: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Int array (S, n): positions in `y`, those of each module's samples, in random order."""

    @abstractmethod
    def judge(
        self, outputs: np.ndarray, labels: np.ndarray, shares: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Accuracy (S,) and share of units (S,) by which the best epoch of a module is chosen."""

    @abstractmethod
    def worth(self, accuracy: np.ndarray, shares: np.ndarray) -> np.ndarray:
        """What ranks epochs that lose too much accuracy, (S,): the larger the better."""

    # ------------------------------------------------------------------------------ the search

    def check(self, model: keras.Model, x: Any, y: Any, **options: Any) -> SearchProblem:
        problem = super().check(model, x, y, **options)
        require_logits(problem.slicer)
        if not self._names(problem):
            raise ValueError(
                f"Expected a model with hidden activations for {type(self).__name__} that are not "
                f"of recurrent layers. Received: model {model.name!r} with none"
            )
        few = [
            name
            for name, rows in zip(problem.class_names, self._samples(problem), strict=True)
            if len(rows) < 2
        ]
        if few:
            raise ValueError(
                f"Expected two samples of every class for {type(self).__name__}, one of them for "
                f"validation. Received: a single one of the classes {few}, samples={self.samples!r}"
            )
        return problem

    def rounds(self, problem: SearchProblem) -> int:
        return self.epochs

    def start(self, problem: SearchProblem) -> SearchState:
        self._training = self._new_training(problem)
        self._warn_of_small_budget(problem)
        state = self._training.read()
        random = self.random(-1).spawn(3)[2]
        for key, values in state.items():
            if key.startswith(score_key("")):
                state[key] = np.full_like(values, self.starting_score())
        for index in range(0, self._weights(state), 2):
            bound = state[head_key(index)].shape[1] ** -0.5
            for key in (head_key(index), head_key(index + 1)):
                state[key] = random.uniform(-bound, bound, state[key].shape).astype("float32")
        self._training.write(state)
        rows, labels = self._validation(problem)
        logits = self._training.logits(rows)
        predicted = np.take_along_axis(
            np.broadcast_to(self.tasks(problem)[:, None], logits.shape),
            logits.argmax(axis=-1)[..., None],
            axis=-1,
        )
        accuracy = (predicted[..., 0] == labels).mean(axis=1)
        best = {f"best_{key}": state[key] for key in self._kept_keys(state)}
        return {
            **state,
            **best,
            "floor": accuracy - self.max_accuracy_loss,
            "rank": np.full((len(rows), 3), -np.inf),
        }

    def advance(self, problem: SearchProblem, state: SearchState, index: int) -> SearchState:
        if self._training is None or self._training.problem is not problem:
            self._training = self._new_training(problem)
        training = self._training
        training.write(state)
        rows, labels = self._drawn(problem, self._split(problem)[0], self.random(index))
        training.train(rows, labels, self.phase(index))
        state = self._keep_best(problem, {**state, **training.read()})
        if index == self.epochs - 1:
            self._training = None
        return state

    def units(self, problem: SearchProblem, state: SearchState) -> dict[str, np.ndarray]:
        return {name: state[f"best_{score_key(name)}"] > 0 for name in self._names(problem)}

    def split(
        self,
        model: keras.Model,
        x: Any,
        y: Any,
        *,
        class_names: Sequence[str] | None = None,
        batch_size: int = 128,
        state: str | Path | None = None,
        verbose: str | int = "auto",
    ) -> tuple[ModuleSet, list[keras.Model]]:
        """Finds the modules, and builds each with its head as a model of its own.

        Args:
            model: As of `decompose`, as all that follow.
            x: Inputs.
            y: Labels.
            class_names: C names.
            batch_size: Number of samples in a batch.
            state: A file for the state of the search.
            verbose: 0 is silent.

        Returns:
            The `ModuleSet`, and a list of S functional models, each with the units of one module.

        Raises:
            ValueError: As `decompose`, and with `head=False`.
        """
        if not self.head:
            raise ValueError(
                "Expected head=True for `split`. Received: head=False, with which modules are read "
                "at their own logits: see `moda_keras.side_by_side`"
            )
        problem = self.check(model, x, y, class_names=class_names, batch_size=batch_size)
        found = self.run(problem, state=state, verbose=verbose)
        names = self._names(problem)
        heads = [found[f"best_{head_key(index)}"] for index in range(self._weights(found))]
        models = [
            headed_module(
                problem.slicer,
                {name: found[f"best_{score_key(name)}"][module] > 0 for name in names},
                [each[module].reshape(each.shape[1 + i % 2 :]) for i, each in enumerate(heads)],
                activation=self.output_activation,
                name=f"module_{module}",
            )
            for module in range(len(found["rank"]))
        ]
        return self.module_set(problem, found), models

    # ------------------------------------------------------------------------------ of a round

    def _keep_best(self, problem: SearchProblem, state: SearchState) -> SearchState:
        training = self._training
        rows, labels = self._validation(problem)
        masks = np.concatenate(list(training.mask_arrays().values()), axis=1)
        outputs = training.outputs(training.logits(rows))
        accuracy, shares = self.judge(outputs, labels, masks.mean(axis=1))
        fits = accuracy >= state["floor"]
        rank = np.stack(
            [
                fits,
                np.where(fits, -shares, self.worth(accuracy, shares)),
                np.where(fits, accuracy, -shares),
            ],
            axis=1,
        )
        better = [tuple(new) > tuple(old) for new, old in zip(rank, state["rank"], strict=True)]
        state["rank"] = np.where(np.array(better)[:, None], rank, state["rank"])
        for key in self._kept_keys(state):
            best = state[f"best_{key}"].copy()
            best[better] = state[key][better]
            state[f"best_{key}"] = best
        return state

    def _validation(self, problem: SearchProblem) -> tuple[np.ndarray, np.ndarray]:
        """Samples (S, n) and labels (S, n), the same after every epoch."""
        return self._drawn(problem, self._split(problem)[1], self.random(-1).spawn(3)[1])

    def _drawn(
        self, problem: SearchProblem, rows: np.ndarray, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        tasks = self.tasks(problem)
        drawn = rows[self.draw(problem.y[rows], tasks, random)]
        labels = np.take_along_axis(tasks, problem.y[drawn], axis=1)
        return drawn, labels

    def _split(self, problem: SearchProblem) -> tuple[np.ndarray, np.ndarray]:
        """The samples for training, and those for validation: at least one of every class each."""
        training, validation = [], []
        for rows in self._samples(problem):
            held = min(max(1, round(self.validation * len(rows))), len(rows) - 1)
            validation.append(rows[:held])
            training.append(rows[held:])
        return np.concatenate(training), np.concatenate(validation)

    def _samples(self, problem: SearchProblem) -> list[np.ndarray]:
        random = self.random(-1).spawn(3)[0]
        return draw_of_each_class(problem.y, range(problem.classes), self.samples, random)

    # ---------------------------------------------------------------------------------- set up

    def _new_training(self, problem: SearchProblem) -> MaskTraining:
        tasks = self.tasks(problem)
        members = self.members(tasks)
        outputs = LogitGroups(members)
        if self.head:
            hidden = self.hidden_head_units(problem)
            outputs = Heads(len(tasks), (problem.classes, *hidden, members.shape[-1]))
        return MaskTraining(problem, self._names(problem), len(tasks), outputs, self.loss)

    def _names(self, problem: SearchProblem) -> list[str]:
        """The activations that are masked.

        Units of recurrent layers feed back into the layer: a mask at its output does not drop them.
        """
        slicer = problem.slicer
        fed_back = {
            slicer.hidden[step.outputs[0]]
            for step, rule in slicer.rules.items()
            if rule.feeds_back and step.outputs[0] in slicer.hidden
        }
        return [each.name for each in self.masked_activations(problem) if each.name not in fed_back]

    def _warn_of_small_budget(self, problem: SearchProblem) -> None:
        rows, _ = self._drawn(problem, self._split(problem)[0], self.random(-1))
        steps = len(list(batches(rows.shape[1], problem.batch_size)))
        steps *= sum(self.phase(index).trains_masks for index in range(self.epochs))
        if steps * self.learning_rate <= 1:
            warnings.warn(
                f"The budget of {type(self).__name__} is too small to drop a unit: scores start at "
                f"1 and move by about learning_rate={self.learning_rate} in each of {steps} steps. "
                "Raise `epochs` or `learning_rate`, or use smaller batches",
                stacklevel=4,
            )

    @staticmethod
    def _weights(state: SearchState) -> int:
        return sum(key.startswith("head:") for key in state)

    @staticmethod
    def _kept_keys(state: SearchState) -> list[str]:
        return [key for key in state if key.startswith((score_key(""), "head:"))]


def _check_real(*, is_above: bool = False, below: float | None = None, **values: Any) -> None:
    for name, value in values.items():
        is_real = isinstance(value, Real) and not isinstance(value, bool) and np.isfinite(value)
        if is_real and (value > 0 if is_above else value >= 0) and (below is None or value < below):
            continue
        bounds = f"{'>' if is_above else '>='} 0" + ("" if below is None else f" and < {below}")
        raise ValueError(f"Expected `{name}` to be a number {bounds}. Received: {name}={value!r}")
