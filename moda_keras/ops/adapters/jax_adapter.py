"""JAX's part of the operations."""

import jax
import numpy as np


def segment_sum(rows: jax.Array, segment_ids: jax.Array, num_segments: int) -> jax.Array:
    """Sums of the rows of each segment."""
    return jax.ops.segment_sum(rows, segment_ids, num_segments)


def as_concrete(values) -> np.ndarray | None:
    """`values` as a NumPy array, or None while JAX traces."""
    return None if isinstance(values, jax.core.Tracer) else np.asarray(values)


def check_in_graph(condition, message: str) -> None:
    """A compiled JAX function cannot raise: such a sample belongs to no class."""
