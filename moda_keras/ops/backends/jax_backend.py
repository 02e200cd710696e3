"""The JAX backend."""

import threading
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
        with _held_by_this_thread(model):
            yield from self._kept(model)

    def _kept(self, model: keras.Model) -> Iterator[None]:
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


# By identity of a variable: the thread in which Keras has taken its value away, and how often.
_HOLDERS: dict[int, tuple[int, int]] = {}
_HOLDERS_LOCK = threading.Lock()


@contextmanager
def _held_by_this_thread(model: keras.Model) -> Iterator[None]:
    """Refuses a model whose variables another thread uses: one would write over the other's."""
    me, keys = threading.get_ident(), [id(variable) for variable in model.variables]
    with _HOLDERS_LOCK:
        if any(_HOLDERS.get(key, (me, 0))[0] != me for key in keys):
            raise RuntimeError(
                f"Expected model {model.name!r} not to be in use. Received: a model of whose "
                "weights some are being trained or evaluated in another thread. With JAX, Keras "
                "takes the weights out of a model meanwhile: wait until the other thread is done, "
                "or use a copy of the model"
            )
        for key in keys:
            _HOLDERS[key] = me, _HOLDERS.get(key, (me, 0))[1] + 1
    try:
        yield
    finally:
        with _HOLDERS_LOCK:
            for key in keys:
                count = _HOLDERS.pop(key)[1] - 1
                if count:
                    _HOLDERS[key] = me, count


def _is_empty(variable: keras.Variable) -> bool:
    try:
        return variable.value is None
    except TypeError:
        return True
