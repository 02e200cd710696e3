"""The accuracy of many sub-tasks at once, from one compiled model whose masks are inputs."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np

from moda_keras import graph
from moda_keras.evaluation.samples import check_samples
from moda_keras.evaluation.staged_model import StagedModel
from moda_keras.evaluation.subtask_blocks import SubtaskBlocks, unique_rows
from moda_keras.evaluation.subtasks import Subtask
from moda_keras.modules.checks import check_modules
from moda_keras.modules.module_set import ModuleSet
from moda_keras.observing.labelled_arrays import check_batch_size

# Blocks are dropped after this many samples, to bound memory.
SAMPLES_AT_ONCE = 2048


class MaskedEvaluator:
    """Accuracy of the composed models of many sub-tasks, without composing them.

    Samples advance from one hidden activation to the next. At each, the sub-tasks that keep the
    same active units of a sample are merged: their unions are equal, or differ only in units that
    are zero for this sample. Early layers, and samples that activate only units of their own
    module, are therefore computed once for all sub-tasks. A sample only goes through the sub-tasks
    of its class. Results are exact, except for the order of floating-point sums.

    Args:
        modules: The modules of a model that can be cut (`why_not_staged`).
        batch_size: Number of rows in a batch of a stage.

    Raises:
        ValueError: If the model cannot be cut.

    Examples:
        >>> import keras
        >>> import numpy as np
        >>> import moda_keras as mk
        >>> from moda_keras.experiments import MaskedEvaluator
        >>> model = keras.Sequential([
        ...     keras.Input((2,)),
        ...     keras.layers.Dense(6, activation="relu", name="features"),
        ...     keras.layers.Dense(3),
        ... ])
        >>> units = {"features": np.repeat(np.eye(3, dtype=bool), 2, axis=1)}
        >>> evaluator = MaskedEvaluator(mk.ModuleSet.from_units(model, units))
        >>> x, y = np.ones((4, 2), "float32"), np.array([0, 1, 1, 2])
        >>> evaluator.accuracy([(0, 1), (1, 2)], x, y).shape
        (2,)
    """

    def __init__(self, modules: ModuleSet, *, batch_size: int = 256):
        check_modules(modules)
        check_batch_size(batch_size, is_optional=False)
        self.modules = modules
        self.batch_size = batch_size
        self.model = StagedModel(modules)

    def accuracy(self, subtasks: Sequence[Subtask], x: Any, y: np.ndarray) -> np.ndarray:
        """Reuse accuracy of each sub-task on the samples of its classes.

        Args:
            subtasks: Tuples of class indices.
            x: Test inputs: an array of N samples, or a list or dict of arrays for a model of
                several inputs.
            y: Labels: integers (N,) or (N, 1), one-hot (N, C), or class names.

        Returns:
            Float array (subtasks,).

        Raises:
            ValueError: If a class or a label is unknown, or a sub-task has no sample.
        """
        x, y = check_samples(self.modules, x, y)
        total = count_samples(_membership(self.modules, subtasks), y)
        return self.count_correct(subtasks, x, y) / total

    def count_correct(
        self,
        subtasks: Sequence[Subtask],
        x: Any,
        y: np.ndarray,
        *,
        units: Sequence[Mapping[str, np.ndarray]] | None = None,
    ) -> np.ndarray:
        """How many samples of its classes the model of each sub-task classifies correctly.

        Args:
            subtasks: Tuples of class indices.
            x: Test inputs, as for `accuracy`.
            y: Labels, as for `accuracy`.
            units: For each sub-task a dict from activation names to bool arrays (D,): the units of
                its model, each of them in some module. By default the union of its classes'
                modules.

        Returns:
            Int array (subtasks,).
        """
        table = _membership(self.modules, subtasks)
        x, y = check_samples(self.modules, x, y)
        unions = self._unions(table) if units is None else self._masks(units)
        in_order = table[:, self.model.classes]
        correct = np.zeros(len(subtasks), "int64")
        for rows in self._run(unions, table, x, y):
            is_beaten = beaten_by(rows.logits, self._column[y[rows.samples]])
            _count_correct(correct, rows, is_beaten, in_order)
        return correct

    def accuracy_by_class(
        self, units: Sequence[Mapping[str, np.ndarray]], x: Any, y: np.ndarray
    ) -> np.ndarray:
        """Accuracy on each class of the model with all its classes, for any masks of its units.

        Args:
            units: For each mask a dict from activation names to bool arrays (D,): the units to
                keep. Activations that are missing keep all units of any module.
            x: Test inputs, as for `accuracy`.
            y: Labels, as for `accuracy`.

        Returns:
            Float array (masks, C); NaN for a class without samples.
        """
        x, y = check_samples(self.modules, x, y)
        unions = self._masks(units)
        everywhere = np.ones((len(units), self.modules.num_classes), bool)
        correct = np.zeros(everywhere.shape, "int64")
        for rows in self._run(unions, everywhere, x, y):
            is_right = ~beaten_by(rows.logits, self._column[y[rows.samples]]).any(axis=1)
            for row in np.flatnonzero(is_right):
                correct[rows.members[row], y[rows.samples[row]]] += 1
        total = np.bincount(y, minlength=self.modules.num_classes).astype(float)
        return correct / np.where(total, total, np.nan)

    def logits(
        self, subtasks: Sequence[Subtask], x: Any, y: np.ndarray
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Logits of the composed models, before their output activation.

        Args:
            subtasks: Tuples of class indices.
            x: Test inputs, as for `accuracy`.
            y: Labels, as for `accuracy`.

        Returns:
            For each sub-task an int array (n,), the samples of its classes, and a float array
            (n, k), their logits in the sub-task's order of classes.
        """
        table = _membership(self.modules, subtasks)
        x, y = check_samples(self.modules, x, y)
        samples = [np.flatnonzero(np.isin(y, subtask)) for subtask in subtasks]
        found = [
            np.zeros((len(rows), len(subtask)), "float32")
            for rows, subtask in zip(samples, subtasks, strict=True)
        ]
        for rows in self._run(self._unions(table), table, x, y):
            for sample, members, logits in zip(
                rows.samples, rows.members, rows.logits, strict=True
            ):
                for t in members:
                    place = np.searchsorted(samples[t], sample)
                    found[t][place] = logits[self._column[list(subtasks[t])]]
        return list(zip(samples, found, strict=True))

    @cached_property
    def _column(self) -> np.ndarray:
        """The position of each class among the logits; -1 for a class without a module."""
        column = np.full(self.modules.num_classes, -1)
        column[self.model.classes] = np.arange(len(self.model.classes))
        return column

    def _unions(self, table: np.ndarray) -> list[np.ndarray]:
        """For each activation a bool array (subtasks, units): the units of each sub-task."""
        units = self.modules.units
        return [table @ units[name][:, self.model.kept[name]] for name in self.model.names]

    def _masks(self, units: Sequence[Mapping[str, np.ndarray]]) -> list[np.ndarray]:
        """For each activation a bool array (masks, units)."""
        return [
            np.stack([self._kept_mask(name, each.get(name)) for each in units])
            for name in self.model.names
        ]

    def _kept_mask(self, name: str, mask: np.ndarray | None) -> np.ndarray:
        kept = self.model.kept[name]
        return np.ones(len(kept), bool) if mask is None else np.asarray(mask, bool)[kept]

    def _run(
        self, unions: list[np.ndarray], table: np.ndarray, x: Any, y: np.ndarray
    ) -> Iterator["_Results"]:
        """Logits of every sample for the sub-tasks of its class, (subtasks, classes) in `table`."""
        inputs = _in_order_of_inputs(self.modules.model, x)
        wanted = np.flatnonzero(table.any(axis=0)[y])
        for start in range(0, len(wanted), SAMPLES_AT_ONCE):
            samples = wanted[start : start + SAMPLES_AT_ONCE]
            _check_finite_inputs([each[samples] for each in inputs])
            blocks = SubtaskBlocks(unions)
            of_class = {c: blocks.add(np.flatnonzero(table[:, c])) for c in np.unique(y[samples])}
            first = np.array([of_class[label] for label in y[samples]])
            yield from _Pipeline(self.model, blocks, self.batch_size).run(
                _Rows(inputs, samples, samples, first)
            )


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows that wait for a stage.

    Attributes:
        state: Arrays that hold the rows, among others.
        index: Int array: the position of each row in `state`.
        samples: Int array: the sample of each row.
        blocks: Int array: the block of sub-tasks of each row.
    """

    state: list[np.ndarray]
    index: np.ndarray
    samples: np.ndarray
    blocks: np.ndarray

    def __len__(self) -> int:
        return len(self.index)

    def part(self, rows: slice) -> "_Rows":
        return _Rows(self.state, self.index[rows], self.samples[rows], self.blocks[rows])


@dataclass(frozen=True, eq=False)
class _Results:
    """Logits (rows, P) with the sample of each row, its block and the block's sub-tasks."""

    samples: np.ndarray
    blocks: np.ndarray
    members: list[np.ndarray]
    logits: np.ndarray


class _Pipeline:
    """Moves rows through the stages: always the deepest stage that has a full batch.

    All batches but the last ones are full, and no more than a few batches wait at any stage.
    """

    def __init__(self, model: StagedModel, blocks: SubtaskBlocks, batch_size: int):
        self.stages = model.stages
        self.blocks = blocks
        self.batch_size = batch_size
        self.waiting = [deque() for _ in self.stages]

    def run(self, rows: _Rows) -> Iterator[_Results]:
        self.waiting[0].append(rows)
        while (stage := self._next_stage()) is not None:
            results = self._run_stage(stage)
            if results is not None:
                yield results

    def _next_stage(self) -> int | None:
        sizes = [sum(map(len, waiting)) for waiting in self.waiting]
        full = [stage for stage, size in enumerate(sizes) if size >= self.batch_size]
        partial = [stage for stage, size in enumerate(sizes) if size]
        return full[-1] if full else next(iter(partial), None)

    def _run_stage(self, stage: int) -> _Results | None:
        taken = self._take(stage)
        samples = np.concatenate([rows.samples for rows in taken])
        blocks = np.concatenate([rows.blocks for rows in taken])
        inputs = _gather(taken, self.batch_size)
        if stage:
            unions = self.blocks.groups[stage - 1].unions
            masks = unions[self.blocks.first(blocks)].astype("float32")
            inputs.append(_padded(masks, self.batch_size))
        *state, last = self.stages[stage].predict_on_batch(inputs)
        last = last[: len(blocks)]
        if stage == len(self.stages) - 1:
            members = [self.blocks.members[block] for block in blocks]
            return _Results(samples, blocks, members, _check_finite(last))
        index, parts = self.blocks.split(stage, blocks, last)
        self.waiting[stage + 1].append(_Rows(state, index, samples[index], parts))
        return None

    def _take(self, stage: int) -> list[_Rows]:
        """Up to a batch of the rows that wait for a stage."""
        waiting, taken, room = self.waiting[stage], [], self.batch_size
        while waiting and room:
            rows = waiting.popleft()
            if len(rows) > room:
                waiting.appendleft(rows.part(slice(room, None)))
                rows = rows.part(slice(room))
            taken.append(rows)
            room -= len(rows)
        return taken


def _gather(taken: list[_Rows], size: int) -> list[np.ndarray]:
    """The rows as arrays of exactly `size` rows, because JAX compiles every new shape."""
    if len(taken) == 1 and np.array_equal(taken[0].index, np.arange(size)):
        return [each[:size] for each in taken[0].state]
    columns = zip(*(rows.state for rows in taken), strict=True)
    parts = [[s[rows.index] for s, rows in zip(column, taken, strict=True)] for column in columns]
    return [_padded(p[0] if len(p) == 1 else np.concatenate(p), size) for p in parts]


def _padded(array: np.ndarray, size: int) -> np.ndarray:
    missing = size - len(array)
    return array if not missing else np.concatenate([array, np.repeat(array[:1], missing, axis=0)])


def _in_order_of_inputs(model: keras.Model, x: Any) -> list[np.ndarray]:
    """The arrays in the order of `model.inputs`; a dict may go by the names of the inputs."""
    is_dict = isinstance(graph.inputs_and_outputs(model)[0], dict)
    if isinstance(x, dict) and not is_dict:
        x = [x[tensor.name] for tensor in model.inputs]
    return [np.asarray(each) for each in keras.tree.flatten(x)]


def _check_finite_inputs(inputs: list[np.ndarray]) -> None:
    """TensorFlow's ReLU may turn NaN into 0, so that logits do not show it."""
    if not all(np.isfinite(each).all() for each in inputs if each.dtype.kind == "f"):
        raise ValueError(
            "Expected finite inputs. Received: NaN or infinity in `x`. Remove or replace these "
            "samples"
        )


def _check_finite(logits: np.ndarray) -> np.ndarray:
    if not np.isfinite(logits).all():
        raise ValueError(
            "Expected finite logits. Received: NaN or infinity. Check the data and the weights"
        )
    return logits


# ------------------------------------------------------------------------------------- counting


def _membership(modules: ModuleSet, subtasks: Sequence[Subtask]) -> np.ndarray:
    """Bool array (subtasks, classes); a ValueError for a class that cannot be composed."""
    table = np.zeros((len(subtasks), modules.num_classes), bool)
    for row, subtask in enumerate(subtasks):
        table[row, modules.resolve_classes(subtask)] = True
    return table


def count_samples(table: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The number of samples of each sub-task.

    Args:
        table: Bool array (subtasks, classes).
        y: Labels, integers (N,).

    Returns:
        Int array (subtasks,).

    Raises:
        ValueError: If a sub-task has no sample.
    """
    total = table @ np.bincount(y, minlength=table.shape[1])
    if not total.all():
        empty = np.flatnonzero(table[np.argmin(total)]).tolist()
        raise ValueError(
            f"Expected samples of every sub-task. Received: none of the classes {empty}"
        )
    return total


def beaten_by(logits: np.ndarray, own: np.ndarray) -> np.ndarray:
    """The classes that an argmax prefers to the sample's own; of equal logits the first wins.

    Args:
        logits: Float array (rows, P).
        own: Int array (rows,): the column of the sample's own class.

    Returns:
        Bool array (rows, P).
    """
    own = own[:, np.newaxis]
    value = np.take_along_axis(logits, own, axis=1)
    is_before = np.arange(logits.shape[1]) < own
    return (logits > value) | ((logits == value) & is_before)


def _count_correct(
    correct: np.ndarray, rows: _Results, is_beaten: np.ndarray, table: np.ndarray
) -> None:
    """Adds to `correct` (subtasks,) the rows that each sub-task of their block gets right."""
    keys = np.concatenate(
        [rows.blocks.astype("<u4").view("u1").reshape(-1, 4), np.packbits(is_beaten, axis=1)],
        axis=1,
    )
    first, which = unique_rows(keys)
    for row, count in zip(first, np.bincount(which), strict=True):
        members = rows.members[row]
        correct[members] += count * ~table[members][:, is_beaten[row]].any(axis=1)
