"""Weights that a layer uses directly, as steps of a graph."""

from typing import Any

import keras
import numpy as np

from moda_keras.graph.channel_axes import last_axis
from moda_keras.graph.graph import Step, Tensor
from moda_keras.graph.operations import has_changed_weights, kind_of
from moda_keras.layers.parameter import Parameter

_ELEMENTWISE = {
    "Add", "Divide", "Maximum", "Minimum", "Multiply", "Power", "Subtract", "TrueDivide",
}  # fmt: skip


class WeightOperands:
    """Turns the weights among the arguments of `keras.ops` calls into steps.

    A product with a matrix, with or without a vector that is added, becomes a `Dense` layer that
    shares the weights. Any other weight becomes the output of a `Parameter` layer, likewise.

    Args:
        layer: The layer whose call is recorded.
        steps: The steps so far; steps are appended.
        source: What goes into the layers that put out weights; they read nothing.
    """

    def __init__(self, layer: keras.layers.Layer, steps: list[Step], source: Tensor):
        self.dtype = layer.dtype_policy
        self.steps = steps
        self.source = source
        self.parameters: dict[tuple, Tensor] = {}
        self.products: dict[Step, keras.Variable] = {}

    def as_dense(self, operation: Any, args: tuple, output: Tensor) -> bool:
        """Records a product with a matrix as a `Dense` layer; returns whether it is one."""
        if kind_of(operation) not in ("Matmul", "Dot") or len(args) != 2:
            return False
        values, kernel = args
        is_product = isinstance(values, Tensor) and len(values.shape) > 1 and _is_weight(kernel)
        if not is_product or len(kernel.shape) != 2 or self._changes_dtype(values, output):
            return False
        self._append_dense(operation.name, values, output, kernel=kernel)
        return True

    def as_bias(self, operation: Any, args: tuple, output: Tensor, readers: int) -> bool:
        """Makes a vector that is added the bias of the `Dense` before; returns whether it is one.

        Args:
            operation: The operation.
            args: Its positional arguments.
            output: Its output.
            readers: How many operations read the output of the `Dense`.
        """
        if kind_of(operation) != "Add" or len(args) != 2 or readers > 1:
            return False
        values, bias = args if isinstance(args[0], Tensor) else args[::-1]
        last = self.steps[-1] if self.steps else None
        if last not in self.products or last.outputs[0] is not values or not _is_weight(bias):
            return False
        kernel = self.products[last]
        if tuple(bias.shape) != (last.operation.units,) or bias.trainable != kernel.trainable:
            return False
        del self.steps[-1], self.products[last]
        self._append_dense(last.operation.name, last.inputs[0], output, kernel=kernel, bias=bias)
        self.steps[-1].name = last.name
        return True

    def as_embedding(self, operation: Any, args: tuple, output: Tensor) -> bool:
        """Records rows of a matrix, taken by indices, as an `Embedding`; returns whether it is."""
        if kind_of(operation) != "Take" or operation.axis != 0 or len(args) != 2:
            return False
        table, indices = args
        is_lookup = _is_weight(table) and len(table.shape) == 2 and isinstance(indices, Tensor)
        if not is_lookup or "int" not in indices.keras_tensor.dtype:
            return False
        if output.keras_tensor.dtype != self.dtype.compute_dtype:
            return False
        layer = _embedding(operation.name, self.dtype, table)
        self.steps.append(Step(layer, (indices,), {}, [output]))
        return True

    def as_lookup(self, layer: keras.layers.Layer, args: tuple, output: Tensor) -> bool:
        """Records an `Embedding` of constant indices, as of positions; returns whether it is one.

        All rows in their order are the weight itself; others are taken from it.
        """
        if type(layer) is not keras.layers.Embedding or has_changed_weights(layer):
            return False
        indices = keras.ops.convert_to_numpy(args[0])
        rows, channels = layer.embeddings.shape
        is_whole = np.array_equal(indices.ravel(), np.arange(rows))
        shape = (*indices.shape, channels) if is_whole else (rows, channels)
        made = Parameter.of(layer.embeddings, shape, layer.dtype_policy, layer.name)
        table = output if is_whole else _tensor_of(shape, made.compute_dtype)
        self.steps.append(Step(made, (self.source,), {}, [table]))
        if not is_whole:
            take = keras.ops.take(table.keras_tensor, indices, axis=0)._keras_history.operation
            self.steps.append(Step(take, (table, indices), {}, [output]))
        return True

    def replaced(self, operation: Any, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        """The arguments with a tensor in place of each weight."""
        flat = keras.tree.flatten((args, kwargs))
        rank = max((len(leaf.shape) for leaf in flat if isinstance(leaf, Tensor)), default=0)
        is_elementwise = kind_of(operation) in _ELEMENTWISE

        def tensor_of(leaf: Any) -> Any:
            if not _is_weight(leaf):
                return leaf
            shape = tuple(leaf.shape)
            missing = rank - len(shape) if is_elementwise else 0
            return self._parameter(leaf, (1,) * max(missing, 0) + shape)

        return keras.tree.map_structure(tensor_of, (args, kwargs))

    def _parameter(self, variable: keras.Variable, shape: tuple[int, ...]) -> Tensor:
        key = (id(variable), shape)
        if key not in self.parameters:
            name = variable.name
            layer = Parameter.of(variable, shape, self.dtype, name)
            output = _tensor_of(shape, layer.compute_dtype)
            self.steps.append(Step(layer, (self.source,), {}, [output]))
            self.parameters[key] = output
        return self.parameters[key]

    def _append_dense(
        self, name: str, values: Tensor, output: Tensor, **weights: keras.Variable
    ) -> None:
        layer = _dense(name, self.dtype, weights)
        step = Step(layer, (values,), {}, [output])
        self.steps.append(step)
        if "bias" not in weights:
            self.products[step] = weights["kernel"]

    def _changes_dtype(self, values: Tensor, output: Tensor) -> bool:
        dtypes = {values.keras_tensor.dtype, output.keras_tensor.dtype, self.dtype.compute_dtype}
        return len(dtypes) > 1


def holds_weights(args: tuple, kwargs: dict) -> bool:
    """Whether a weight is among the arguments of a call."""
    return any(map(_is_weight, keras.tree.flatten((args, kwargs))))


def _tensor_of(shape: tuple[int, ...], dtype: str) -> Tensor:
    spec = keras.KerasTensor(shape, dtype=dtype)
    return Tensor(spec, last_axis(spec))


def _is_weight(leaf: Any) -> bool:
    return isinstance(leaf, keras.Variable)


def _dense(name: str, dtype: Any, weights: dict[str, keras.Variable]) -> keras.layers.Dense:
    """A `Dense` layer that shares given weights."""
    inputs, units = weights["kernel"].shape
    settings = {"use_bias": "bias" in weights, "trainable": weights["kernel"].trainable}
    for place, weight in weights.items():
        settings[f"{place}_regularizer"] = weight.regularizer
        settings[f"{place}_constraint"] = weight.constraint
    layer = keras.layers.Dense(units, dtype=dtype, name=name, **settings)
    layer.add_weight = lambda name, **_: weights[name]  # what `build` asks for
    layer.build((None, inputs))
    del layer.add_weight
    return layer


def _embedding(name: str, dtype: Any, table: keras.Variable) -> keras.layers.Embedding:
    """An `Embedding` layer that shares a given weight."""
    layer = keras.layers.Embedding(
        *table.shape,
        embeddings_regularizer=table.regularizer,
        embeddings_constraint=table.constraint,
        trainable=table.trainable,
        dtype=dtype,
        name=name,
    )
    layer.add_weight = lambda *_, **__: table  # what `build` asks for
    layer.build()
    del layer.add_weight
    return layer
