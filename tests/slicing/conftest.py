import keras
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def no_random_initial_weights(monkeypatch):
    """Tests set all weights themselves; JAX would compile the drawing of every shape anew."""

    def zeros(self, shape, dtype=None, **kwargs):
        return np.zeros(shape, "float32")

    monkeypatch.setattr(keras.initializers.VarianceScaling, "__call__", zeros)
    monkeypatch.setattr(keras.initializers.OrthogonalInitializer, "__call__", zeros)


@pytest.fixture(scope="module", autouse=True)
def quick_compilation():
    """Every model here runs once: on JAX, compiling it is nearly all of the time."""
    if keras.backend.backend() != "jax":
        yield
        return
    import jax

    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
