"""CNNSplitter: a genetic search of the filters that each class needs."""

from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np

from moda_keras.methods.cnnsplitter.breeding import breed, import_pygad
from moda_keras.methods.cnnsplitter.compositions import (
    Candidates,
    best_compositions,
    fitness_of_candidates,
)
from moda_keras.methods.cnnsplitter.filter_groups import FilterGroups
from moda_keras.methods.cnnsplitter.filter_importance import filter_importance
from moda_keras.methods.cnnsplitter.first_population import first_population
from moda_keras.methods.cnnsplitter.layer_sensitivity import accuracy_drops
from moda_keras.methods.masked_outputs import MaskedOutputs, own_logits, refuse_recurrent
from moda_keras.methods.search import Search, SearchProblem, check_positive, check_samples
from moda_keras.methods.search_state import SearchState
from moda_keras.methods.top_share import check_share
from moda_keras.observing.labelled_arrays import draw_of_each_class, take_samples


class CNNSplitter(Search):
    """Finds the filters of each class by a genetic algorithm.

    A chromosome says which groups of filters a class's module keeps. The fitness of a candidate is
    that of the best composition with candidates of the other classes: its accuracy and the mean
    Jaccard distance between its modules, weighted. The result is the fittest composition of all
    generations. Layers without maps stay whole. A round is a generation.

    Args:
        generations: The number of populations of each class that are evaluated.
        population: P >= 2, the number of candidates of each class.
        alpha: In [0, 1]: the weight of the accuracy; the distance has the weight 1 - alpha.
        groups: The number of groups in which a layer's filters are kept or dropped; None for 10,
            or 100 from 256 filters on.
        dropped: In [0, 1]: the share of a layer's filters whose loss tells its sensitivity.
        accuracy_loss: In [0, 1]: a layer is sensitive if losing `dropped` of its filters costs
            more accuracy; partial compositions that lose more are dropped first.
        compositions: The least and the largest number of partial compositions that are kept.
        samples: How many samples of each class to use: an int, a float in (0, 1] for that fraction,
            or None for all.
        seed: Int >= 0.

    Examples:
        >>> import keras
        >>> import numpy as np
        >>> import moda_keras as mk
        >>> model = keras.Sequential([
        ...     keras.Input((6, 6, 1)),
        ...     keras.layers.Conv2D(8, 3, activation="relu", name="conv"),
        ...     keras.layers.Flatten(),
        ...     keras.layers.Dense(2),
        ... ])
        >>> x, y = np.random.default_rng(0).normal(size=(8, 6, 6, 1)), np.arange(8) % 2
        >>> search = mk.methods.cnnsplitter.CNNSplitter(generations=2, population=4)
        >>> modules = search.decompose(model, x, y, verbose=0)
        >>> modules.units["conv"].shape
        (2, 8)

    Source: Qi et al., "Patching Weak Convolutional Neural Network Models through Modularization and
    Composition" (ASE 2022).
    """

    name = "cnnsplitter"
    needs_maps = True

    def __init__(
        self,
        generations: int = 200,
        population: int = 100,
        *,
        alpha: float = 0.9,
        groups: int | None = None,
        dropped: float = 0.3,
        accuracy_loss: float = 0.05,
        compositions: Sequence[int] = (50, 500),
        samples: int | float | None = None,
        seed: int = 0,
    ):
        super().__init__(seed=seed)
        check_positive(generations=generations, **({} if groups is None else {"groups": groups}))
        _check_population(population)
        _check_compositions(compositions)
        self.generations = int(generations)
        self.population = int(population)
        self.alpha = check_share("alpha", alpha, may_be_zero=True)
        self.groups = None if groups is None else int(groups)
        self.dropped = check_share("dropped", dropped, may_be_zero=True)
        self.accuracy_loss = check_share("accuracy_loss", accuracy_loss, may_be_zero=True)
        self.compositions = tuple(map(int, compositions))
        self.samples = check_samples(samples)
        self._compiled: tuple[SearchProblem, MaskedOutputs] | None = None

    def get_config(self) -> dict[str, Any]:
        return {
            "generations": self.generations,
            "population": self.population,
            "alpha": self.alpha,
            "groups": self.groups,
            "dropped": self.dropped,
            "accuracy_loss": self.accuracy_loss,
            "compositions": list(self.compositions),
            "samples": self.samples,
            "seed": self.seed,
        }

    def check(self, model: Any, x: Any, y: Any, **arguments: Any) -> SearchProblem:
        import_pygad()
        problem = super().check(model, x, y, **arguments)
        refuse_recurrent(problem.slicer, [each.name for each in problem.maps])
        if self.samples is None:
            return problem
        random = self.random(-1).spawn(1)[0]
        drawn = draw_of_each_class(problem.y, range(problem.classes), self.samples, random)
        rows = np.sort(np.concatenate(drawn))
        return replace(problem, x=take_samples(problem.x, rows), y=problem.y[rows])

    def rounds(self, problem: SearchProblem) -> int:
        return self.generations

    def start(self, problem: SearchProblem) -> SearchState:
        outputs = self._outputs(problem)
        whole = {each.name: np.ones((1, each.units)) for each in problem.maps}
        logits = outputs.of(problem.x, whole, problem.batch_size)[0]
        accuracy = np.mean(logits.argmax(axis=1) == problem.y)
        importance = filter_importance(problem, logits)
        drops = accuracy_drops(problem, outputs, importance, self.dropped, accuracy)
        groups = FilterGroups(problem.maps, importance, self.groups)
        random = self.random(-1)
        population = [
            first_population(self.population, groups.sizes, drops > self.accuracy_loss, random)
            for _ in range(problem.classes)
        ]
        return {
            "whole": logits,
            "accuracy_drops": drops,
            "population": np.stack(population),
            "best": np.ones((problem.classes, groups.genes), "uint8"),
            # Accuracy, distance and fitness of the best composition so far; the last one's accuracy
            "best_fitness": np.array([0.0, 0.0, -np.inf]),
            "last_accuracy": np.array(accuracy),
            **{f"importance{i}": values for i, values in enumerate(importance)},
        }

    def advance(self, problem: SearchProblem, state: SearchState, index: int) -> SearchState:
        random = self.random(index)
        population = state["population"]
        found = best_compositions(
            self._candidates(problem, state),
            random.permutation(problem.classes).tolist(),
            kept=self.compositions,
            accuracy_loss=self.accuracy_loss,
            keep_first=index > 0,
        )
        accuracy, distance = found.accuracy, found.mean_distance
        whole_accuracy = np.mean(state["whole"].argmax(axis=1) == problem.y)
        weight = self.alpha + max(0.0, whole_accuracy - state["last_accuracy"])
        fitness = weight * accuracy + (1 - self.alpha) * distance
        winner = int(fitness.argmax())
        members = np.empty(problem.classes, int)
        members[list(found.classes)] = found.members[winner]
        values = fitness_of_candidates(found, fitness, problem.classes, self.population)
        result = self.alpha * accuracy[winner] + (1 - self.alpha) * distance[winner]
        state = state | {"last_accuracy": accuracy[winner]}
        if result > state["best_fitness"][2]:
            state["best_fitness"] = np.array([accuracy[winner], distance[winner], result])
            state["best"] = population[np.arange(problem.classes), members]
        if index + 1 < self.generations:
            seeds = random.integers(2**31, size=problem.classes).tolist()
            bred = map(breed, population, values, members.tolist(), seeds)
            state["population"] = np.stack(list(bred))
        return state

    def units(self, problem: SearchProblem, state: SearchState) -> dict[str, np.ndarray]:
        groups = self._groups(problem, state)
        masks = [groups.masks(genes[np.newaxis], c) for c, genes in enumerate(state["best"])]
        return {name: np.concatenate([each[name] for each in masks]) for name in groups.names}

    def _groups(self, problem: SearchProblem, state: SearchState) -> FilterGroups:
        importance = [state[f"importance{i}"] for i in range(len(problem.maps))]
        return FilterGroups(problem.maps, importance, self.groups)

    def _candidates(self, problem: SearchProblem, state: SearchState) -> Candidates:
        """The candidates of a generation; equal ones of a class are run once."""
        groups = self._groups(problem, state)
        masks = [groups.masks(each, c) for c, each in enumerate(state["population"])]
        tables = {name: np.concatenate([each[name] for each in masks]) for name in groups.names}
        joined = np.concatenate([tables[name] for name in groups.names], axis=1)
        owners = np.repeat(np.arange(problem.classes), self.population)
        _, first, inverse = np.unique(
            np.column_stack([owners, np.packbits(joined, axis=1)]),
            axis=0,
            return_index=True,
            return_inverse=True,
        )
        chosen = {name: table[first] for name, table in tables.items()}
        logits = own_logits(
            self._outputs(problem), problem.x, chosen, owners[first], problem.batch_size
        )[inverse.ravel()]
        shape = (problem.classes, self.population, -1)
        return Candidates(logits.reshape(shape), joined.reshape(shape), state["whole"], problem.y)

    def _outputs(self, problem: SearchProblem) -> MaskedOutputs:
        """The masked model of all maps, compiled once for a problem."""
        if self._compiled is None or self._compiled[0] is not problem:
            names = [each.name for each in problem.maps]
            self._compiled = problem, MaskedOutputs(problem.slicer, names)
        return self._compiled[1]


def _check_population(population: Any) -> None:
    is_int = isinstance(population, Integral) and not isinstance(population, bool)
    if not is_int or population < 2:
        raise ValueError(
            "Expected `population` to be an integer >= 2: a candidate needs another to mate. "
            f"Received: population={population!r}"
        )


def _check_compositions(compositions: Any) -> None:
    is_pair = isinstance(compositions, (tuple, list)) and len(compositions) == 2
    if not is_pair or not all(isinstance(each, Integral) for each in compositions):
        is_pair = False
    if not is_pair or not 1 <= compositions[0] <= compositions[1]:
        raise ValueError(
            "Expected `compositions` to be two integers >= 1, the smaller first. Received: "
            f"compositions={compositions!r}"
        )
