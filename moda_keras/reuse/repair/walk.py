"""Repair: the weights that stay are refitted so that layers give what the original's give."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from moda_keras.graph import Step, Tensor
from moda_keras.ops.backends import backend
from moda_keras.reuse.repair.calibration import calibration_batches
from moda_keras.reuse.repair.least_squares import FOLDS, MANY_INPUTS, ProductSums, find_correction
from moda_keras.reuse.repair.moments import channel_moments, matched_statistics
from moda_keras.reuse.repair.projections import Projection, projection_of
from moda_keras.reuse.repair.sums import Summand, find_summands, is_batch_norm, scale_of
from moda_keras.slicing import Plan, Slicer
from moda_keras.slicing.builder import BuiltModel, Weights, call_arguments
from moda_keras.slicing.channels import Channels
from moda_keras.slicing.copying import copy_operation, copy_weights
from moda_keras.slicing.plan import PlannedStep

# Rows of a layer's input that are taken, at least; and rows for each of its inputs.
ROWS = 20_000
ROWS_PER_INPUT = 4
# Positions are drawn.
SEED = 0


def repair(
    slicer: Slicer, plan: Plan, calibration_data: Any, *, name: str | None = None
) -> tuple[keras.Model, Weights]:
    """Builds a sliced model and refits its layers, from input to output.

    Every layer sees what the repaired layers before it give, and is fitted to what the original's
    layer gives. It takes one pass of the data through each of the two models.

    Args:
        slicer: Of the original.
        plan: What to build, with `align` 1.
        calibration_data: Samples without labels: see `calibration_batches`.
        name: Name of the new model.

    Returns:
        The repaired model; and its weights by operation of the original and name of the weight, in
        the original's shapes: what is not kept has the original's values.

    Raises:
        ValueError: As `calibration_batches`.
    """
    batches = calibration_batches(plan.model, calibration_data)
    built = slicer.build_parts(plan, name=name)
    walk = _Walk(plan, built, batches)
    with backend.without_gradients():
        for step in plan.graph.steps:
            walk.run(step)
    return built.model, walk.weights


@dataclass(eq=False)
class _Walk:
    """Runs original and new model side by side, step by step.

    Attributes:
        plan: The plan.
        built: The new model.
        batches: The data.
    """

    plan: Plan
    built: BuiltModel
    batches: list[list[Any]]

    def __post_init__(self):
        graph = self.plan.graph
        self.weights: dict[Any, dict[str, np.ndarray]] = {}
        self.planned = {planned.step: planned for planned in self.plan.steps}
        self.calls = Counter(step.operation for step in graph.steps)
        self.readers = Counter(tensor for step in graph.steps for tensor in step.inputs)
        self.unread = self.readers.copy()
        self.projections = self._find_projections()
        linear = {step for step in self.projections if _is_linear(step.operation)}
        self.summands = find_summands(graph, linear)
        self.absorbers = self._find_absorbers()
        self.original = {t: [b[i] for b in self.batches] for i, t in enumerate(graph.inputs)}
        self.new = dict(self.original)
        self.random = np.random.default_rng(SEED)

    def run(self, step: Step) -> None:
        """Computes one step in both models; before, it refits the new one's layer."""
        planned = self.planned.get(step)
        if planned is None:  # the output activation that is left out
            self.original[step.outputs[0]] = self.original[step.inputs[0]]
            self.new[step.outputs[0]] = self.new[step.inputs[0]]
            return
        filled = [self._filled(t, fill) for t, fill in zip(step.inputs, planned.fills, strict=True)]
        outputs = self._call_original(step, step.operation)
        if step in self.projections:
            self._refit_projection(planned, filled[0], outputs[0])
        elif is_batch_norm(step) and step not in self.absorbers.values() and self._is_own(step):
            self._match_moments(planned, filled[0])
        operation = self.built.operation(planned)
        results = [
            keras.tree.flatten(_call(step, operation, [values[i] for values in filled]))
            for i in range(len(self.batches))
        ]
        for index, tensor in enumerate(step.outputs):
            self.original[tensor] = outputs[index]
            self.new[tensor] = [result[index] for result in results]
        self._forget(step)

    # ----------------------------------------------------------------------------- projections

    def _refit_projection(self, planned: PlannedStep, inputs: list, outputs: list) -> None:
        step, projection = planned.step, self.projections[planned.step]
        if self._is_unchanged(step, inputs) and step not in self.summands:
            return
        targets = self._targets(planned, outputs)
        absorber = self.absorbers.get(step)
        has_bias = step.operation.bias is not None
        sums = self._sums(projection, inputs, targets)
        found = [find_correction(each, intercept=has_bias or absorber is not None) for each in sums]
        kernel = projection.kernel(np.stack([each.kernel for each in found]))
        bias = np.stack([each.bias for each in found])
        self._add(planned, "kernel", kernel)
        if has_bias:
            self._add(planned, "bias", projection.bias(bias))
        elif absorber is not None:
            self._add(self.planned[absorber], "moving_mean", -bias.reshape(-1))

    def _targets(self, planned: PlannedStep, outputs: list) -> list[np.ndarray]:
        """What the layer should give before its activation, at the channels it keeps."""
        step, channels = planned.step, planned.slice.outputs[0].kept
        axis = step.outputs[0].channel_axis
        if not _is_linear(step.operation):
            outputs = self._call_original(step, _linear_copy(step))[0]
        targets = [_numpy(values).take(channels, axis) for values in outputs]
        summand = self.summands.get(step)
        if summand is None:
            return targets
        lacking = self._lacking(summand, channels, axis)
        return [target + lack for target, lack in zip(targets, lacking, strict=True)]

    def _lacking(self, summand: Summand, channels: np.ndarray, axis: int) -> list[np.ndarray]:
        """What the other summands lack, as the projection before its normalization sees it."""
        planned = self.planned[summand.add]
        scale = np.broadcast_to(scale_of(summand.norms), (summand.add.outputs[0].channels,))
        scale = scale[channels]
        inverse = np.where(np.abs(scale) > 1e-3, 1.0, 0.0) / np.where(scale == 0, 1.0, scale)
        shape = [1] * len(summand.add.outputs[0].shape)
        shape[axis] = len(channels)
        total: list[Any] = [0.0] * len(self.batches)
        for place, tensor in enumerate(summand.add.inputs):
            if place == summand.place:
                continue
            fed = planned.slice.inputs[place]
            new = self._filled(tensor, planned.fills[place])
            for i, (before, now) in enumerate(zip(self.original[tensor], new, strict=True)):
                difference = _numpy(before).take(channels, axis) - _known(now, fed, channels, axis)
                total[i] = total[i] + difference
        return [each * inverse.reshape(shape) for each in total]

    def _sums(self, projection: Projection, inputs: list, targets: list) -> list[ProductSums]:
        """The sums of products of every group."""
        layer = projection.layer
        matrix = projection.matrix(_numpy(layer.kernel).astype("float64"))
        bias = np.zeros((len(matrix), matrix.shape[2]))
        if layer.bias is not None:
            bias = _numpy(layer.bias).astype("float64").reshape(bias.shape)
        width = matrix.shape[1]
        samples = sum(len(target) for target in targets)
        folds = min(FOLDS if width <= MANY_INPUTS else 2, samples)
        sums = [ProductSums(*each.shape, folds) for each in matrix]
        places = projection.positions(targets[0].shape)
        count = min(places, -(-max(ROWS, ROWS_PER_INPUT * width) // samples))
        start = 0
        for x, target in zip(inputs, targets, strict=True):
            fold_of = (start + np.arange(len(target))) % folds
            start += len(target)
            chosen = _positions(self.random, len(target), places, count)
            for fold in np.unique(fold_of):
                rows = fold_of == fold
                x_rows = projection.rows(_numpy(x)[rows], chosen[rows])
                y_rows = projection.targets(target[rows], chosen[rows])
                for group, each in enumerate(sums):
                    given = x_rows[group] @ matrix[group] + bias[group]
                    each.add(fold, x_rows[group], y_rows[group] - given)
        return sums

    # -------------------------------------------------------------------------- normalizations

    def _match_moments(self, planned: PlannedStep, inputs: list) -> None:
        step = planned.step
        if self._is_unchanged(step, inputs):
            return
        axis, kept = step.outputs[0].channel_axis, planned.slice.outputs[0].kept
        before = [_numpy(v).take(kept, axis) for v in self.original[step.inputs[0]]]
        layer = self.built.operation(planned)
        wanted = channel_moments(before, axis)
        received = channel_moments([_numpy(v) for v in inputs], axis)
        mean, variance = matched_statistics(layer, wanted, received)
        self._add(planned, "moving_mean", mean - _numpy(layer.moving_mean))
        self._add(planned, "moving_variance", variance - _numpy(layer.moving_variance))

    # -------------------------------------------------------------------------------- the graph

    def _find_projections(self) -> dict[Step, Projection]:
        found = {}
        for step, planned in self.planned.items():
            if self._is_own(step):
                projection = projection_of(self.built.operation(planned), step)
                if projection is not None:
                    found[step] = projection
        return found

    def _find_absorbers(self) -> dict[Step, Step]:
        """For projections without bias: the batch normalization that alone reads them."""
        producers = {tensor: step for step in self.plan.graph.steps for tensor in step.outputs}
        found = {}
        for step in self.plan.graph.steps:
            if not is_batch_norm(step) or not self._is_own(step):
                continue
            producer = producers.get(step.inputs[0])
            is_alone = self.readers[step.inputs[0]] == 1
            is_found = is_alone and producer in self.projections
            if is_found and producer.operation.bias is None and _is_linear(producer.operation):
                same = np.array_equal(
                    self.planned[producer].slice.outputs[0].kept,
                    self.planned[step].slice.outputs[0].kept,
                )
                if same:
                    found[producer] = step
        return found

    def _is_own(self, step: Step) -> bool:
        """Whether a step's layer is called once, so that it can be fitted to that call."""
        return self.calls[step.operation] == 1 and step in self.planned

    def _is_unchanged(self, step: Step, inputs: list) -> bool:
        """Whether the new layer sees all that the original's sees, unchanged."""
        before = self.original[step.inputs[0]]
        pairs = zip(before, inputs, strict=True)
        return all(a is b or np.array_equal(_numpy(a), _numpy(b)) for a, b in pairs)

    def _add(self, planned: PlannedStep, name: str, change: np.ndarray) -> None:
        """Adds to a weight of the new layer, and to the original's values in `weights`."""
        original, layer = planned.step.operation, self.built.operation(planned)
        names = [weight.name for weight in original.weights]
        weight = next(w for w in layer.weights if w.name == name)
        weight.assign(_numpy(weight) + change)
        full = self.weights.setdefault(original, {})
        if name not in full:
            full[name] = _numpy(original.weights[names.index(name)]).astype("float64")
        part = planned.slice.weights.get(name)
        indices = part.indices(full[name].shape) if part else [np.arange(n) for n in change.shape]
        full[name][np.ix_(*indices)] += change

    def _filled(self, tensor: Tensor, fill: Any) -> list:
        values = self.new[tensor]
        if fill is None:
            return values
        layer = self.built.fill(tensor, fill)
        return [layer(value) for value in values]

    def _call_original(self, step: Step, operation: Any) -> list[list]:
        """The outputs of a step of the original, each a list of batches."""
        results = [
            keras.tree.flatten(_call(step, operation, [self.original[t][i] for t in step.inputs]))
            for i in range(len(self.batches))
        ]
        return [list(values) for values in zip(*results, strict=True)]

    def _forget(self, step: Step) -> None:
        """Frees the tensors that no later step reads."""
        for tensor in step.inputs:
            self.unread[tensor] -= 1
        for tensor in {*step.inputs, *step.outputs}:
            if self.unread[tensor] <= 0:
                self.original.pop(tensor, None)
                self.new.pop(tensor, None)


def _call(step: Step, operation: Any, values: list) -> Any:
    """Calls a step's operation; one tensor may go in twice, with two values."""
    args, kwargs = call_arguments(step, values)
    return operation(*args, **kwargs)


def _is_linear(layer: keras.layers.Layer) -> bool:
    return layer.activation is keras.activations.linear


def _linear_copy(step: Step) -> keras.layers.Layer:
    """A copy of the original's layer without its activation."""
    made = copy_operation(step.operation, step.name, activation="linear")
    made.build(step.inputs[0].shape)
    copy_weights(made, step.operation)
    return made


def _positions(random: np.random.Generator, samples: int, places: int, count: int) -> np.ndarray:
    """Int array (samples, count): random positions of every sample, each once."""
    if count >= places:
        return np.broadcast_to(np.arange(places), (samples, places))
    return np.argsort(random.random((samples, places)), axis=1)[:, :count]


def _known(values: Any, fed: Channels, channels: np.ndarray, axis: int) -> np.ndarray:
    """The value at each of `channels`, of which some are there and some are constants."""
    position = np.full(fed.size, -1)
    position[fed.kept] = np.arange(len(fed.kept))
    source = position[channels]
    shape = [1] * len(values.shape)
    shape[axis] = len(channels)
    there = _numpy(values).take(np.maximum(source, 0), axis)
    return np.where((source >= 0).reshape(shape), there, fed.const[channels].reshape(shape))


def _numpy(values: Any) -> np.ndarray:
    array = keras.ops.convert_to_numpy(values)
    return array if array.dtype == "float64" else array.astype("float32", copy=False)
