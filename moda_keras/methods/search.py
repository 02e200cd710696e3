"""The contract of the methods that search the modules of a trained model."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

import keras
import numpy as np

from moda_keras.claims import claimed
from moda_keras.graph import HiddenActivation, explain_no_activation
from moda_keras.messages import listed
from moda_keras.methods.search_state import SearchState, digest_of, read_state, write_state
from moda_keras.modules.class_names import check_class_names
from moda_keras.modules.module_set import ModuleSet
from moda_keras.observing.labelled_arrays import (
    as_class_indices,
    check_batch_size,
    check_data,
    check_labelled_arrays,
    number_of_samples,
    refuse_dataset,
)
from moda_keras.progress import ProgressBar
from moda_keras.slicing import Slicer


@dataclass(frozen=True)
class SearchProblem:
    """A trained model and the data that a search may use.

    Attributes:
        model: The trained model. A search never changes it.
        slicer: Its `Slicer`, with the traced graph and the hidden activations.
        x: Inputs: an array (N, ...), or a list or dict of arrays.
        y: Int64 array (N,), the class of each sample. Every class has one at least. None for a
            search that needs no labels.
        classes: C, the number of classes.
        class_names: Tuple of C names.
        batch_size: Number of samples in a batch.
    """

    model: keras.Model
    slicer: Slicer
    x: Any
    y: np.ndarray | None
    classes: int
    class_names: tuple[str, ...]
    batch_size: int

    @property
    def hidden(self) -> list[HiddenActivation]:
        """The hidden activations, in the order of execution."""
        return self.slicer.hidden_activations

    @property
    def maps(self) -> list[HiddenActivation]:
        """The hidden activations of convolutional layers: maps (B, ..., D)."""
        return [each for each in self.hidden if len(each.tensor.shape) > 2]


class Search(ABC):
    """A method that searches the modules of a trained model, in rounds.

    A subclass says how many rounds there are, what the search starts from, what a round does, and
    which units the result stands for. The base class checks the input, shows the progress, and
    writes the state to a file after every round, so that an interrupted search goes on and comes to
    the same result: all that a round needs is in the state, and its random numbers come from
    `self.random(round_index)`.

    Subclasses define `name`, `get_config`, `rounds`, `start`, `advance` and `units`.

    Args:
        seed: Int >= 0, seed of all random numbers.

    Attributes:
        name: Name of the method, as in `moda_keras.methods`.
        needs_maps: Whether the model must have convolutional layers.
        needs_labels: Whether samples have classes; False for regression, whose outputs stand in
            for the classes.
    """

    name: str
    needs_maps: bool = False
    needs_labels: bool = True

    def __init__(self, *, seed: int = 0):
        if not isinstance(seed, Integral) or isinstance(seed, bool) or seed < 0:
            raise ValueError(f"Expected `seed` to be an integer >= 0. Received: seed={seed!r}")
        self.seed = int(seed)

    @abstractmethod
    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, as JSON can hold them."""

    @abstractmethod
    def rounds(self, problem: SearchProblem) -> int:
        """The number of rounds."""

    @abstractmethod
    def start(self, problem: SearchProblem) -> SearchState:
        """What the first round starts from: a dict of NumPy arrays."""

    @abstractmethod
    def advance(self, problem: SearchProblem, state: SearchState, index: int) -> SearchState:
        """The state after round `index`, from 0."""

    @abstractmethod
    def units(self, problem: SearchProblem, state: SearchState) -> dict[str, np.ndarray]:
        """The modules that the last state stands for.

        Returns:
            Dict from activation name to a bool array (C, D). Activations left out stay whole.
        """

    def decompose(
        self,
        model: keras.Model,
        x: Any,
        y: Any = None,
        *,
        class_names: Sequence[str] | None = None,
        batch_size: int = 128,
        state: str | Path | None = None,
        verbose: str | int = "auto",
    ) -> ModuleSet:
        """Finds the modules of a trained model.

        Args:
            model: Any built Functional or Sequential model with one output (batch, C). It is not
                changed.
            x: Inputs: an array of N samples, or a list or dict of arrays.
            y: Labels: integers (N,) or (N, 1), one-hot (N, C), or class names (N,). Every class
                needs a sample. None for a search that needs none.
            class_names: C names; "0", "1", ... by default.
            batch_size: Number of samples in a batch.
            state: A file for the state of the search, written after each round. If it exists, the
                search goes on from it. It belongs to one search: the same method with the same
                arguments, the same weights and data.
            verbose: 0 is silent; 1 and "auto" show a progress bar.

        Returns:
            A `ModuleSet`.

        Raises:
            ValueError: If the model has no graph, no hidden activation or, for a method that needs
                them, no convolutional layer; if labels are missing, out of range or not those of
                the inputs; if a class has no sample; if `state` is no file of this search.
            FileInUseError: If another process searches with this `state`.
        """
        problem = self.check(model, x, y, class_names=class_names, batch_size=batch_size)
        found = self.run(problem, state=state, verbose=verbose)
        return self.module_set(problem, found)

    def module_set(self, problem: SearchProblem, state: SearchState) -> ModuleSet:
        """The `ModuleSet` of the last state; a search for a sub-task says so here."""
        units = self.units(problem, state)
        return ModuleSet.from_units(problem.model, units, problem.class_names)

    def run(
        self,
        problem: SearchProblem,
        *,
        state: str | Path | None = None,
        verbose: str | int = "auto",
    ) -> SearchState:
        """Runs all rounds that are not yet in the file `state`; returns the last state."""
        with contextlib.nullcontext() if state is None else claimed(state):
            return self._run(problem, state, verbose)

    def _run(
        self, problem: SearchProblem, state: str | Path | None, verbose: str | int
    ) -> SearchState:
        total = self.rounds(problem)
        digest = "" if state is None else digest_of(self, problem)
        done, current = (0, None) if state is None else read_state(state, digest)
        current = self.start(problem) if current is None else current
        bar = ProgressBar(total, verbose, unit_name="round", patience=0.0)
        bar.update(done)
        for index in range(done, total):
            current = self.advance(problem, current, index)
            if state is not None:
                write_state(state, digest, index + 1, current)
            bar.update(index + 1)
        return current

    def check(
        self,
        model: keras.Model,
        x: Any,
        y: Any = None,
        *,
        class_names: Sequence[str] | None = None,
        batch_size: int = 128,
    ) -> SearchProblem:
        """The arguments of `decompose`, checked."""
        slicer = Slicer(model)
        if not slicer.hidden_activations:
            raise ValueError(explain_no_activation(slicer.graph))
        model = slicer.model
        classes = model.outputs[0].shape[-1]
        names = check_class_names(class_names, classes)
        check_data(x, len(model.inputs))
        check_batch_size(batch_size, is_optional=False)
        x, y = self._checked_samples(x, y, classes, class_names)
        counts = np.ones(classes) if y is None else np.bincount(y, minlength=classes)
        absent = [names[index] for index in np.flatnonzero(counts == 0)]
        if absent:
            raise ValueError(
                f"Expected data with samples of every class for {type(self).__name__}. Received: "
                f"none of the classes {listed(absent)}"
            )
        problem = SearchProblem(model, slicer, x, y, classes, names, batch_size)
        if self.needs_maps and not problem.maps:
            raise ValueError(
                f"Expected a model with convolutional layers for {type(self).__name__}, which "
                f"chooses their filters. Received: model {model.name!r} with the hidden "
                f"activations {[each.name for each in problem.hidden]}, none of them a map"
            )
        return problem

    def _checked_samples(
        self, x: Any, y: Any, classes: int, class_names: Sequence[str] | None
    ) -> tuple[Any, np.ndarray | None]:
        if self.needs_labels:
            return check_labelled_arrays(x, as_class_indices(y, class_names), classes)
        if y is not None:
            raise ValueError(
                f"Expected no labels: this {type(self).__name__} looks at the model's own outputs. "
                f"Received: `y`, a {type(y).__name__}. Pass `x` alone"
            )
        refuse_dataset(x)
        x, _ = check_labelled_arrays(x, np.zeros(number_of_samples(x), "int64"), classes)
        return x, None

    def random(self, index: int) -> np.random.Generator:
        """The random numbers of round `index`; -1 is for `start`."""
        return np.random.default_rng([self.seed, index + 1])


def check_positive(**values: Any) -> None:
    """Raises a ValueError if an argument is not an integer above 0.

    Args:
        **values: The arguments, by name.
    """
    for name, value in values.items():
        if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
            raise ValueError(f"Expected `{name}` to be an integer >= 1. Received: {name}={value!r}")


def check_samples(samples: Any, least: int = 1) -> int | float | None:
    """How many samples of each class to use.

    Args:
        samples: An int, a float in (0, 1] for that fraction, or None for all.
        least: The smallest int.

    Returns:
        `samples`, as JSON can hold it.

    Raises:
        ValueError: If `samples` is something else.
    """
    if samples is None or (isinstance(samples, float) and 0 < samples <= 1):
        return samples
    if isinstance(samples, Integral) and not isinstance(samples, bool) and samples >= least:
        return int(samples)
    raise ValueError(
        f"Expected `samples` to be an integer >= {least}, a float in (0, 1] or None. Received: "
        f"samples={samples!r}"
    )
