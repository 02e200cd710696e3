"""Gradients on whichever backend Keras runs."""

import keras
import numpy as np


def value_and_gradients(function, arrays):
    """The scalar `function(list of tensors)` and its gradients, as NumPy arrays."""
    value, gradients = _BACKENDS[keras.backend.backend()](function, arrays)
    return float(keras.ops.convert_to_numpy(value)), gradients


def _torch(function, arrays):
    tensors = [keras.ops.convert_to_tensor(a).detach().requires_grad_(True) for a in arrays]
    value = function(tensors)
    value.backward()
    gradients = [np.zeros(t.shape) if t.grad is None else t.grad.cpu().numpy() for t in tensors]
    return value.detach(), gradients


def _tensorflow(function, arrays):
    import tensorflow as tf

    tensors = [tf.convert_to_tensor(a) for a in arrays]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        value = function(tensors)
    zero = tf.UnconnectedGradients.ZERO
    return value, [g.numpy() for g in tape.gradient(value, tensors, unconnected_gradients=zero)]


def _jax(function, arrays):
    import jax

    tensors = [jax.numpy.asarray(a) for a in arrays]
    value, gradients = jax.value_and_grad(function)(tensors)
    return value, [np.asarray(g) for g in gradients]


_BACKENDS = {"torch": _torch, "tensorflow": _tensorflow, "jax": _jax}
