"""Copies of Keras's layers around other packages' models, which configs do not tell in full."""

import copy
from collections.abc import Callable
from typing import Any

import keras


def copy_foreign_layer(layer: Any, name: str) -> Any:
    """A copy of a layer around a PyTorch module, a JAX function, a Flax module or a SavedModel.

    Args:
        layer: Any layer or operation.
        name: Name of the copy.

    Returns:
        The copy, with weights of its own; None for other layers.
    """
    for kind, make in _COPIES.items():
        if type(layer) is kind:
            return make(layer, name=name, dtype=layer.dtype_policy, trainable=layer.trainable)
    return None


def _torch_module(layer: Any, **config: Any) -> Any:
    module = copy.deepcopy(layer.module)
    return type(layer)(module, output_shape=layer.output_shape, **config)


def _jax_function(layer: Any, **config: Any) -> Any:
    return type(layer)(
        layer.call_fn,
        layer.init_fn,
        params=_values(layer.params),
        state=_values(layer.state),
        native_serialization_platforms=layer.jax2tf_native_serialization_platforms,
        **config,
    )


def _flax_module(layer: Any, **config: Any) -> Any:
    variables = {**(_values(layer.params) or {}), **(_values(layer.state) or {})}
    return type(layer)(layer.module, layer.method, variables=variables or None, **config)


def _saved_model(layer: Any, **config: Any) -> Any:
    return type(layer)(
        layer.filepath,
        call_endpoint=layer.call_endpoint,
        call_training_endpoint=layer.call_training_endpoint,
        **config,
    )


def _values(variables: Any) -> Any:
    """The arrays of a structure of variables; what is no variable stays as it is."""

    def value(leaf: Any) -> Any:
        return keras.ops.convert_to_numpy(leaf) if isinstance(leaf, keras.Variable) else leaf

    return None if variables is None else keras.tree.map_structure(value, variables)


_COPIES: dict[type, Callable[..., Any]] = {
    keras.layers.TorchModuleWrapper: _torch_module,
    keras.layers.JaxLayer: _jax_function,
    keras.layers.FlaxLayer: _flax_module,
    keras.layers.TFSMLayer: _saved_model,
}
