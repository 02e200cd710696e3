"""Repair: the weights that stay are refitted so that layers give what the original's give."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from moda_keras.graph import Step, Tensor, named_weights
from moda_keras.ops.backends import backend
from moda_keras.progress import ProgressBar
from moda_keras.reuse.repair.calibration import calibration_batches
from moda_keras.reuse.repair.calibration_classes import warn_of_other_classes
from moda_keras.reuse.repair.followers import Follower, affine_of, find_followers, is_batch_norm
from moda_keras.reuse.repair.least_squares import (
    FOLDS,
    MANY_INPUTS,
    Correction,
    Rows,
    find_correction,
    sums_of_rows,
)
from moda_keras.reuse.repair.moments import channel_moments, matched_statistics
from moda_keras.reuse.repair.positions import (
    as_numpy,
    channels_known,
    random_positions,
    rows_at,
)
from moda_keras.reuse.repair.projections import Projection, projection_of
from moda_keras.reuse.repair.rectified import Rectifier, refine
from moda_keras.slicing import Plan, Slicer
from moda_keras.slicing.builder import BuiltModel, Weights, call_arguments
from moda_keras.slicing.copying import copy_operation, copy_weights
from moda_keras.slicing.plan import PlannedStep

# Rows of a layer's input that are taken, at least; and rows for each of its inputs.
ROWS = 20_000
ROWS_PER_INPUT = 4
METHODS = ("least_squares", "moments")
# Positions are drawn.
SEED = 0
# A factor of a normalization below which the channel has no say.
BARELY_SEEN = 1e-3


def build_repaired(
    slicer: Slicer,
    plan: Plan,
    calibration_data: Any,
    method: str = "least_squares",
    *,
    name: str | None = None,
    verbose: str | int = 0,
    warns: bool = False,
) -> tuple[keras.Model, Weights]:
    """Builds a sliced model and refits its layers, from input to output.

    Every layer sees what the repaired layers before it give, and is fitted to what the original's
    layer gives. It takes one pass of the data through each of the two models.

    Args:
        slicer: Of the original.
        plan: What to build, with `align` 1.
        calibration_data: Samples without labels: see `calibration_batches`.
        method: "least_squares", or "moments": only batch normalizations change.
        name: Name of the new model.
        verbose: 0 is silent; 1 and "auto" show a progress bar once it takes two seconds.
        warns: Whether to warn if the samples do not look like those of the plan's classes.

    Returns:
        The repaired model; and its weights by operation of the original and name of the weight, in
        the original's shapes: what is not kept has the original's values.

    Raises:
        ValueError: If the method is unknown or the model has no batch normalization to match
            moments with, or as `calibration_batches`.
    """
    _check_method(method, plan)
    batches = calibration_batches(plan.model, calibration_data)
    built = slicer.build_parts(plan, name=name)
    walk = _Walk(plan, built, batches, method)
    with backend.without_gradients():
        # Behind sigmoids a sample is of any number of classes, and none is "the" class.
        if warns and not slicer.has_independent_outputs:
            warn_of_other_classes(plan.graph, batches, plan.outputs, stacklevel=4)
        bar = ProgressBar(len(plan.graph.steps), verbose, unit_name="layer")
        for done, step in enumerate(plan.graph.steps, start=1):
            walk.run(step)
            bar.update(done)
    return built.model, walk.weights


def require_data(calibration_data: Any, method: str) -> None:
    """Raises a ValueError if a method of repair is chosen, and there is no data to repair with."""
    if calibration_data is None and method != METHODS[0]:
        raise ValueError(
            f"Expected `calibration_data` with repair={method!r}. Received: calibration_data=None"
        )


def _check_method(method: str, plan: Plan) -> None:
    if method not in METHODS:
        raise ValueError(f"Expected `repair` to be one of {METHODS}. Received: repair={method!r}")
    if method == "moments" and not any(is_batch_norm(each.step) for each in plan.steps):
        raise ValueError(
            'Expected a model with batch normalizations for repair="moments", which changes '
            f"nothing else. Received: model {plan.model.name!r}, which has none. Use "
            'repair="least_squares"'
        )


@dataclass(eq=False)
class _Walk:
    """Runs original and new model side by side, step by step.

    Attributes:
        plan: The plan.
        built: The new model.
        batches: The data.
        method: As of `build_repaired`.
    """

    plan: Plan
    built: BuiltModel
    batches: list[list[Any]]
    method: str

    def __post_init__(self):
        graph = self.plan.graph
        self.weights: dict[Any, dict[str, np.ndarray]] = {}
        self.planned = {planned.step: planned for planned in self.plan.steps}
        self.calls = Counter(step.operation for step in graph.steps)
        self.unread = Counter(tensor for step in graph.steps for tensor in step.inputs)
        self.readers = self.unread + Counter(graph.outputs)
        self.projections = self._find_projections() if self.method == METHODS[0] else {}
        self.followers = find_followers(graph, set(self.projections))
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
        if self._is_unchanged(step, inputs) and self.followers[step].add is None:
            return
        absorber = self.absorbers.get(step)
        has_bias = step.operation.bias is not None
        chosen = self._chosen(projection, outputs)
        wanted, cut, sign = self._wanted(planned, outputs, chosen)
        groups = self._rows(projection, inputs, chosen, wanted, cut)
        found = [
            _correct(*each, sign[i], intercept=has_bias or absorber is not None)
            for i, each in enumerate(groups)
        ]
        kernel = projection.kernel(np.stack([each.kernel for each in found]))
        bias = np.stack([each.bias for each in found])
        self._add(planned, "kernel", kernel)
        if has_bias:
            self._add(planned, "bias", projection.bias(bias))
        elif absorber is not None:
            self._add(self.planned[absorber], "moving_mean", -bias.reshape(-1))

    def _chosen(self, projection: Projection, outputs: list) -> list[np.ndarray]:
        """For each batch the positions of every sample that are taken, int array (B, n)."""
        samples = sum(len(output) for output in outputs)
        places = projection.positions(tuple(outputs[0].shape))
        width = projection.matrix(as_numpy(projection.layer.kernel)).shape[1]
        count = min(places, -(-max(ROWS, ROWS_PER_INPUT * width) // samples))
        return [random_positions(self.random, len(output), places, count) for output in outputs]

    def _wanted(
        self, planned: PlannedStep, outputs: list, chosen: list
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        """What the layer should give before its activation, at the channels it keeps.

        Returns:
            Float array (G, n, O); the values from which a ReLU behind passes it, or None if there
            is no ReLU; and whether it passes larger values (1) or smaller ones (-1), array (G, O).
        """
        step, channels = planned.step, planned.slice.outputs[0].kept
        projection, follower = self.projections[step], self.followers[step]
        if not _is_linear(step.operation):
            outputs = self._call_original(step, _linear_copy(step))[0]
        wanted = rows_at(projection, outputs, chosen).take(channels, 1)
        shape = (1, len(channels), *[1] * (wanted.ndim - 2))
        scale, shift = (v.reshape(shape) for v in affine_of(follower.norms, channels))
        is_seen = np.abs(scale) > BARELY_SEEN
        divisor = np.where(is_seen, scale, 1.0)
        arriving: Any = 0.0
        if follower.add is not None:
            before, arriving = self._others(follower, projection, channels, chosen)
            wanted = (wanted + is_seen * (before - arriving) / divisor).astype("float32")
        signs = np.broadcast_to(np.where(scale < -BARELY_SEEN, -1.0, 1.0), wanted[:1].shape)
        cut = None
        if follower.is_rectified:
            never = np.where(is_seen, 0.0, -np.inf)  # linear
            cut = never - (shift + arriving) / divisor
            cut = projection.grouped(np.broadcast_to(cut, wanted.shape).astype("float32"))
        return projection.grouped(wanted), cut, projection.grouped(signs)[:, 0]

    def _others(
        self, follower: Follower, projection: Projection, channels: np.ndarray, chosen: list
    ) -> tuple[Any, Any]:
        """The sums of the other summands, in the original and as they arrive now."""
        planned = self.planned[follower.add]
        before = arriving = 0.0
        for place, tensor in enumerate(follower.add.inputs):
            if place == follower.place:
                continue
            fed = planned.slice.inputs[place]
            old = rows_at(projection, self.original[tensor], chosen)
            new = self._filled(tensor, planned.fills[place])
            before = before + old.take(channels, 1)
            arriving = arriving + channels_known(rows_at(projection, new, chosen), fed, channels)
        return before, arriving

    def _rows(
        self,
        projection: Projection,
        inputs: list,
        chosen: list,
        wanted: np.ndarray,
        cut: np.ndarray | None,
    ) -> list[tuple[Rows, np.ndarray, np.ndarray | None]]:
        """For every group: rows, what the layer gives for them now, and the cuts of the ReLU."""
        layer = projection.layer
        matrix = projection.matrix(as_numpy(layer.kernel))
        bias = np.zeros((len(matrix), matrix.shape[2]), "float32")
        if layer.bias is not None:
            bias = as_numpy(layer.bias).reshape(bias.shape)
        parts = [projection.rows(as_numpy(v), at) for v, at in zip(inputs, chosen, strict=True)]
        x = np.concatenate(parts, axis=1)
        samples, count = sum(map(len, chosen)), chosen[0].shape[1]
        folds = min(FOLDS if x.shape[2] <= MANY_INPUTS else 2, samples)
        fold_of_row = np.repeat(np.arange(samples) % folds, count)
        given = x @ matrix + bias[:, np.newaxis]
        cuts = [None] * len(x) if cut is None else cut
        return [
            (Rows(x[g], wanted[g] - given[g], fold_of_row), given[g], cuts[g])
            for g in range(len(x))
        ]

    # -------------------------------------------------------------------------- normalizations

    def _match_moments(self, planned: PlannedStep, inputs: list) -> None:
        step = planned.step
        if self._is_unchanged(step, inputs):
            return
        axis, kept = step.outputs[0].channel_axis, planned.slice.outputs[0].kept
        before = [as_numpy(v).take(kept, axis) for v in self.original[step.inputs[0]]]
        layer = self.built.operation(planned)
        wanted = channel_moments(before, axis)
        received = channel_moments([as_numpy(v) for v in inputs], axis)
        mean, variance = matched_statistics(layer, wanted, received)
        self._add(planned, "moving_mean", mean - as_numpy(layer.moving_mean))
        self._add(planned, "moving_variance", variance - as_numpy(layer.moving_variance))

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
        return all(a is b or np.array_equal(as_numpy(a), as_numpy(b)) for a, b in pairs)

    def _add(self, planned: PlannedStep, name: str, change: np.ndarray) -> None:
        """Adds to a weight of the new layer, and to the original's values in `weights`."""
        original, layer = planned.step.operation, self.built.operation(planned)
        weight = next(w for w in layer.weights if w.name == name)
        weight.assign(as_numpy(weight) + change)
        full = self.weights.setdefault(original, {})
        if name not in full:
            full[name] = as_numpy(dict(named_weights(original))[name]).astype("float64")
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


def _correct(
    rows: Rows, given: np.ndarray, cut: np.ndarray | None, sign: np.ndarray, *, intercept: bool
) -> Correction:
    sums = sums_of_rows(rows)
    linear = find_correction(sums, intercept=intercept)
    if cut is None:
        return linear
    return refine(rows, sums, Rectifier(given, cut, sign), linear, intercept=intercept)


def _call(step: Step, operation: Any, values: list) -> Any:
    """Calls a step's operation; one tensor may go in twice, with two values."""
    args, kwargs = call_arguments(step, values)
    return operation(*args, **kwargs)


def _is_linear(layer: keras.layers.Layer) -> bool:
    return layer.activation is keras.activations.linear


def _linear_copy(step: Step) -> keras.layers.Layer:
    """A copy of the original's layer without its activation."""
    made = copy_operation(step.operation, step.operation.name, activation="linear")
    made.build(step.inputs[0].shape)
    copy_weights(made, step.operation)
    return made
