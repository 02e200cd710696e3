"""JAX's part of the operations."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax
import keras
import numpy as np

from moda_keras.ops.native import core as native


def segment_sum(rows: jax.Array, segment_ids: jax.Array, num_segments: int) -> jax.Array:
    """Sums of the rows of each segment."""
    return jax.ops.segment_sum(rows, segment_ids, num_segments)


def as_concrete(values) -> np.ndarray | None:
    """`values` as a NumPy array, or None while JAX traces."""
    return None if isinstance(values, jax.core.Tracer) else np.asarray(values)


def check_in_graph(condition, message: str) -> None:
    """A compiled JAX function cannot raise: such a sample belongs to no class."""


@contextmanager
def keep_variables(model: keras.Model) -> Iterator[None]:
    """Keeps a model's variables if a step raises.

    Keras empties them while `fit` and `evaluate` run, and does not fill them again if the first
    step raises.
    """
    saved = [(variable, variable.value) for variable in model.variables]
    try:
        yield
    except BaseException:
        for variable, value in saved:
            if _is_empty(variable) and not value.is_deleted():
                variable.assign(value)
        raise


def _is_empty(variable: keras.Variable) -> bool:
    try:
        return variable.value is None
    except TypeError:
        return True


# XLA fuses the gradient of the objectives into what comes from the next layer.
tap = None


# -------------------------------------------------------------------------- native operations


_REASON = "XLA fuses the reference"


def accelerator_name() -> str | None:
    """Name of the GPU or TPU that computes; None without one."""
    device = jax.devices()[0]
    return None if device.platform == "cpu" else device.device_kind


def native_devices() -> dict[str, str | None]:
    """Each device of the backend, and why the native operations cannot serve it, or None."""
    return {"any device": _REASON}


def _reference_serves(*args, **kwargs) -> None:
    """None; raises if the native operations are demanded."""
    native.is_used(_REASON)


native_objectives = native_class_statistics = native_activation_frequency = _reference_serves
