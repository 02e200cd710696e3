"""Makes a functional model of a subclassed one."""

from typing import Any

import keras

from moda_keras.graph.call_recording import Unrecordable, record
from moda_keras.graph.channel_axes import last_axis
from moda_keras.graph.functional_models import Functional, runs_graph
from moda_keras.graph.graph import Graph, Step, Tensor
from moda_keras.graph.inlining import append_recorded, require_equal, ways_to_record
from moda_keras.graph.operations import shallow_copy
from moda_keras.graph.unique_names import layer_name


def to_functional(model: keras.Model, inputs: Any = None, output: Any = None) -> keras.Model:
    """Makes a functional model of any built model; the weights are shared.

    The `call` of a subclassed model is run on symbolic tensors, and so are those of the layers of
    its own inside, level by level. The result is compared with the model on random inputs.

    Args:
        model: A built model: subclassed, Sequential or Functional.
        inputs: What goes into the model: a tensor of `keras.Input`, or a list or dict of them. By
            default float inputs of the shapes that the model was built with.
        output: Which output to keep, of several: the index of one in a list, or its key in a dict.
            All by default.

    Returns:
        A functional `keras.Model`; `model` itself if it is one and no output is chosen. The layers
        are others, with names that are paths in the model, but their weights are those of `model`:
        training one trains both.

    Raises:
        ValueError: If the model is not built and `inputs` is not given, if its `call` is no graph
            of layers and `keras.ops`, or if there is no such output.

    Examples:
        >>> import keras
        >>> import numpy as np
        >>> import moda_keras as mk
        >>> class Net(keras.Model):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.hidden = keras.layers.Dense(8, activation="relu")
        ...         self.head = keras.layers.Dense(3)
        ...     def call(self, x):
        ...         return self.head(self.hidden(x))
        >>> net = Net()
        >>> _ = net(np.zeros((1, 4)))
        >>> mk.find_hidden_activations(mk.to_functional(net))
        [HiddenActivation(name='hidden', units=8)]
    """
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"Expected `model` to be a keras.Model. Received: model={model} (of type {type(model)})"
        )
    if isinstance(model, keras.Sequential) and not runs_graph(model):
        made = _sequential(model, inputs)
    else:
        made = model if runs_graph(model) else _of_call(model, inputs)
    return made if output is None else _with_output(made, output)


def _sequential(model: keras.Sequential, inputs: Any) -> keras.Model:
    if inputs is None:
        raise ValueError(
            f"The model {model.name!r} is not built yet. Add a `keras.Input` as its first layer, "
            "call `model.build(input_shape)`, or give `inputs=keras.Input(...)`."
        )
    tensor = keras.tree.flatten(inputs)[0]
    return keras.Sequential([tensor._keras_history.operation, *model.layers], name=model.name)


def _of_call(model: keras.Model, inputs: Any) -> keras.Model:
    inputs = _default_inputs(model) if inputs is None else inputs
    flat = keras.tree.flatten(inputs)
    tensors = {id(each): Tensor(each, last_axis(each)) for each in flat}
    args = (keras.tree.map_structure(lambda each: tensors[id(each)], inputs),)
    for with_weights in ways_to_record(model):
        graph = Graph([tensors[id(each)] for each in flat], [], [])
        source = graph.inputs[0]
        try:
            recording = record(model, args, {}, with_weights=with_weights)
            graph.outputs = append_recorded(graph.steps, model, recording, _as_one_step, source)
            require_equal(model, args, {}, graph.steps, graph.outputs, source)
            break
        except Unrecordable as error:
            failure = error
    else:
        raise ValueError(
            "Expected a Functional or Sequential model, or one whose `call` is made of layers and "
            f"`keras.ops`. Received the subclassed model {model.name!r} (of type "
            f"{type(model).__name__}), which is no such graph because {failure}. Build the model "
            "with the functional API: `keras.Model(inputs, outputs)`."
        )
    values = graph.run(flat, _Copies(model))
    outputs = [values[tensor] for tensor in graph.outputs]
    packed = keras.tree.pack_sequence_as(recording.structure, outputs)
    return Functional(inputs, packed, name=model.name)


def _default_inputs(model: keras.Model) -> Any:
    config = (model.get_build_config() or {}) if model.built else {}
    shapes = config.get("input_shape") or config.get("shapes_dict")
    if not shapes:
        raise ValueError(
            f"Expected a built model. Received: model {model.name!r} (of type "
            f"{type(model).__name__}), which was never called. Call it once on data, or make it "
            "functional: `mk.to_functional(model, inputs=keras.Input(...))`"
        )
    if isinstance(shapes, dict) and "shapes_dict" in config:
        shapes = next(iter(shapes.values()))
    return _inputs_of(shapes, model.input_dtype)


def _inputs_of(shapes: Any, dtype: str) -> Any:
    """Inputs of shapes, which may be in lists and dicts."""
    if isinstance(shapes, dict):
        return {name: _inputs_of(each, dtype) for name, each in shapes.items()}
    if all(length is None or isinstance(length, int) for length in shapes):
        return keras.Input(batch_shape=(None, *shapes[1:]), dtype=dtype)
    return [_inputs_of(each, dtype) for each in shapes]


def _as_one_step(steps: list[Step], node: Any, args: tuple, kwargs: dict) -> list[Tensor]:
    outputs = [Tensor(each, last_axis(each)) for each in node.outputs]
    steps.append(Step(node.operation, args, kwargs, outputs))
    return outputs


class _Copies:
    """Calls copies of layers that share the weights, each with a name of its own.

    The layers themselves get no nodes, and in two blocks they may have the same name.
    """

    def __init__(self, model: keras.Model):
        self.prefix = f"{model.name}/"
        self.made: dict[Any, Any] = {}
        self.names: set[str] = set()

    def __call__(self, step: Step, args: tuple, kwargs: dict) -> Any:
        operation = step.operation
        if operation not in self.made:
            name = layer_name(step.name.removeprefix(self.prefix), self.names)
            self.made[operation] = shallow_copy(operation, name)
        return self.made[operation](*args, **kwargs)


def _with_output(model: keras.Model, output: Any) -> keras.Model:
    """The model with one of its outputs."""
    outputs = model.output if isinstance(model, Functional) else model.outputs
    try:
        chosen = outputs[output]
    except (KeyError, IndexError, TypeError):
        names = sorted(outputs) if isinstance(outputs, dict) else list(range(len(model.outputs)))
        raise ValueError(
            f"Expected `output` to be one of {names}. Received: output={output!r}"
        ) from None
    inputs = model.input if isinstance(model, Functional) else model.inputs
    return Functional(inputs, chosen, name=model.name)
