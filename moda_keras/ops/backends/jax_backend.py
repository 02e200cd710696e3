"""The JAX backend."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax
import keras
import numpy as np

from moda_keras.ops.backends.backend import ReferenceBackend


class JaxBackend(ReferenceBackend):
    """JAX: XLA fuses the reference, and cannot raise from a compiled function."""

    reason = "XLA fuses the reference"

    def segment_sum(self, rows, segment_ids, num_segments):
        return jax.ops.segment_sum(rows, segment_ids, num_segments)

    def matmul(self, a, b):
        return jax.numpy.matmul(a, b, precision=jax.lax.Precision.HIGHEST)

    def gradients(self, function, values):
        return jax.grad(function, has_aux=True)(list(values))

    def as_concrete(self, values) -> np.ndarray | None:
        return None if isinstance(values, jax.core.Tracer) else np.asarray(values)

    @contextmanager
    def keep_variables(self, model: keras.Model) -> Iterator[None]:
        # Keras empties them while `fit` and `evaluate` run, and does not fill them again if the
        # first step raises.
        saved = [(variable, variable.value) for variable in model.variables]
        try:
            yield
        except BaseException:
            for variable, value in saved:
                if _is_empty(variable) and not value.is_deleted():
                    variable.assign(value)
            raise

    def accelerator_name(self) -> str | None:
        device = jax.devices()[0]
        return None if device.platform == "cpu" else device.device_kind


def _is_empty(variable: keras.Variable) -> bool:
    try:
        return variable.value is None
    except TypeError:
        return True
