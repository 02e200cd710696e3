"""Gradients on whichever backend Keras runs; compiled with JAX, whose eager operations are slow."""

import functools

import keras
import numpy as np


def compiled(function):
    """`function` compiled with JAX, once for each shape; as it is on the other backends."""
    if keras.backend.backend() != "jax":
        return function
    import jax

    return jax.jit(function)


def value_and_gradients(function, arrays, *constants):
    """The scalar `function(list of tensors, *constants)` and its gradients, as NumPy arrays."""
    value, gradients = _BACKENDS[keras.backend.backend()](function, arrays, *constants)
    return float(keras.ops.convert_to_numpy(value)), gradients


def _torch(function, arrays, *constants):
    tensors = [keras.ops.convert_to_tensor(a).detach().requires_grad_(True) for a in arrays]
    value = function(tensors, *constants)
    value.backward()
    gradients = [np.zeros(t.shape) if t.grad is None else t.grad.cpu().numpy() for t in tensors]
    return value.detach(), gradients


def _tensorflow(function, arrays, *constants):
    import tensorflow as tf

    tensors = [tf.convert_to_tensor(a) for a in arrays]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        value = function(tensors, *constants)
    zero = tf.UnconnectedGradients.ZERO
    return value, [g.numpy() for g in tape.gradient(value, tensors, unconnected_gradients=zero)]


def _jax(function, arrays, *constants):
    import jax

    tensors = [jax.numpy.asarray(a) for a in arrays]
    value, gradients = _compiled_value_and_grad(function)(tensors, *constants)
    return value, [np.asarray(g) for g in gradients]


@functools.lru_cache(maxsize=8)
def _compiled_value_and_grad(function):
    import jax

    return jax.jit(jax.value_and_grad(function))


_BACKENDS = {"torch": _torch, "tensorflow": _tensorflow, "jax": _jax}
