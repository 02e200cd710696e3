"""Trains masks and heads epoch by epoch, with all that it needs to go on as NumPy arrays."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from moda_keras.methods.search import SearchProblem
from moda_keras.methods.search_state import SearchState
from moda_keras.methods.trained_masks import Heads, LogitGroups, ModuleTraining, TrainedMasks
from moda_keras.observing.labelled_arrays import loadable, take_samples


@dataclass(frozen=True)
class Phase:
    """What an epoch trains.

    Attributes:
        trains_masks: Whether masks and heads are trained, or heads alone.
        rate: Adam's learning rate.
        is_fresh: Whether Adam forgets its moments before.
    """

    trains_masks: bool
    rate: float
    is_fresh: bool = False


class MaskTraining:
    """Masks and heads of S modules in training.

    Masks with heads, and heads alone, each have an Adam of their own.

    Args:
        problem: The model and the data.
        names: The hidden activations that are masked.
        modules: S, the number of modules.
        outputs: A `Heads`, or a `LogitGroups` in place of heads.
        objective: As of `ModuleTraining`.
    """

    def __init__(
        self,
        problem: SearchProblem,
        names: Sequence[str],
        modules: int,
        outputs: Heads | LogitGroups,
        objective: Callable[[Any, Any, Any], Any],
    ):
        self.problem = problem
        self.modules = modules
        self.masks = TrainedMasks(problem.slicer, names, modules)
        self.outputs_layer = outputs
        self.trained = {
            "joint": _compiled(ModuleTraining(self.masks, outputs, modules, objective)),
            "heads": _compiled(ModuleTraining(None, outputs, modules, objective)),
        }

    # ---------------------------------------------------------------------------------- state

    def read(self) -> SearchState:
        """Scores, heads and the moments of both optimizers."""
        return {key: _numpy(each) for key, each in self._variables()}

    def write(self, state: SearchState) -> None:
        """Goes on from what `read` gave."""
        for key, variable in self._variables():
            variable.assign(state[key])

    def _variables(self) -> Iterator[tuple[str, Any]]:
        for name, scores in zip(self.masks.names, self.masks.scores, strict=True):
            yield score_key(name), scores
        for index, weight in enumerate(self.outputs_layer.trainable_weights):
            yield head_key(index), weight
        for name, model in self.trained.items():
            for index, variable in enumerate(model.optimizer.variables):
                yield f"{name}_adam:{index}", variable

    # ------------------------------------------------------------------------------- training

    def train(self, rows: np.ndarray, labels: np.ndarray, phase: Phase) -> None:
        """Trains one epoch.

        Args:
            rows: Int array (S, n), the samples of each module, in order.
            labels: Int array (S, n).
            phase: What is trained.
        """
        model = self.trained["joint" if phase.trains_masks else "heads"]
        if phase.is_fresh:
            for variable in model.optimizer.variables:
                variable.assign(np.zeros(variable.shape, variable.dtype))
        model.optimizer.learning_rate = phase.rate
        logits = None if phase.trains_masks else self.logits(rows)
        for columns in batches(rows.shape[1], self.problem.batch_size):
            y = labels[:, columns].reshape(-1).astype("int32")
            if phase.trains_masks:
                model.train_on_batch(self._samples(rows[:, columns]), y)
            else:
                model.train_on_batch(logits[:, columns].reshape(-1, logits.shape[-1]), y)

    # -------------------------------------------------------------------------------- reading

    def logits(self, rows: np.ndarray) -> np.ndarray:
        """The logits of samples under the masks.

        Args:
            rows: Int array (S, n), the samples of each module.

        Returns:
            Float32 array (S, n, C).
        """
        if all((mask == mask[0]).all() for mask in self.mask_arrays().values()):
            return self._logits_under_equal_masks(rows)
        return self._logits(rows)

    def outputs(self, logits: np.ndarray) -> np.ndarray:
        """What heads make of logits (S, n, C): float32 array (S, n, K)."""
        flat = self.outputs_layer(keras.ops.convert_to_tensor(logits.reshape(-1, logits.shape[-1])))
        return _numpy(flat).reshape(*logits.shape[:2], -1)

    def mask_arrays(self) -> dict[str, np.ndarray]:
        """Dict from activation name to a bool array (S, D)."""
        scores = zip(self.masks.names, self.masks.scores, strict=True)
        return {name: _numpy(each) > 0 for name, each in scores}

    def _logits(self, rows: np.ndarray) -> np.ndarray:
        found = np.zeros((*rows.shape, self.problem.classes), "float32")
        for columns in batches(rows.shape[1], self.problem.batch_size):
            values = self.masks.predict_on_batch(self._samples(rows[:, columns]))
            found[:, columns] = values.reshape(self.modules, len(columns), -1)
        return found

    def _logits_under_equal_masks(self, rows: np.ndarray) -> np.ndarray:
        """Each sample runs once, through whichever module."""
        wanted, where = np.unique(rows, return_inverse=True)
        spread = np.resize(wanted, (self.modules, -(-len(wanted) // self.modules)))
        found = self._logits(spread).reshape(-1, self.problem.classes)
        return found[where.reshape(rows.shape)]

    def _samples(self, rows: np.ndarray) -> Any:
        return loadable(take_samples(self.problem.x, rows.reshape(-1)))


def batches(samples: int, batch_size: int) -> Iterator[np.ndarray]:
    """The positions of batches of one size, so that nothing is compiled twice.

    Args:
        samples: n, the number of samples.
        batch_size: The largest size of a batch.

    Yields:
        Int arrays of positions. Together they are 0 to n - 1; the last batch is filled up from the
        first ones.
    """
    number = -(-samples // batch_size)
    size = -(-samples // number)
    for start in range(0, number * size, size):
        yield np.arange(start, start + size) % samples


def score_key(name: str) -> str:
    """Where the state has the scores of an activation."""
    return f"scores:{name}"


def head_key(index: int) -> str:
    """Where the state has a weight of the heads."""
    return f"head:{index}"


def _compiled(model: ModuleTraining) -> ModuleTraining:
    model.compile(keras.optimizers.Adam(epsilon=1e-8))
    model.optimizer.build(model.trainable_variables)
    return model


def _numpy(values: Any) -> np.ndarray:
    return np.array(keras.ops.convert_to_numpy(values))
