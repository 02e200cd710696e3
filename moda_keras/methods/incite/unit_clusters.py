"""Clusters of units that behave alike, so that one mutation serves several units."""

from typing import Any

import numpy as np

from moda_keras.graph import Graph
from moda_keras.observing.activation_probe import ActivationProbe, without_padding
from moda_keras.observing.labelled_arrays import (
    loadable,
    number_of_samples,
    sample_of_arrays,
    take_samples,
)
from moda_keras.ops import MaskedActivation

SAMPLES = 256


def unit_behaviour(graph: Graph, x: Any, batch_size: int, seed: int) -> list[np.ndarray]:
    """The mean magnitude of each unit for up to 256 samples, for each hidden activation.

    Args:
        graph: Of the model.
        x: Inputs.
        batch_size: Number of samples at once.
        seed: Of the choice of samples.

    Returns:
        For each hidden activation a float64 array (D, samples).
    """
    x = sample_of_arrays(x, SAMPLES, seed)
    samples = number_of_samples(x)
    probe = ActivationProbe(graph)
    probe.compile()
    probe.built = True
    parts = []
    for start in range(0, samples, batch_size):
        batch = take_samples(x, slice(start, min(start + batch_size, samples)))
        found = probe.predict_on_batch(loadable(batch))
        axes = (hidden.channel_axis for hidden in probe.hidden)
        shares = map(_share_of_padding, found)
        values = zip(without_padding(found), axes, shares, strict=True)
        parts.append([_by_unit(each, axis) / (1 - share) for each, axis, share in values])
    return [np.concatenate(each, axis=1) for each in zip(*parts, strict=True)]


def cluster_units(behaviour: np.ndarray, cluster_size: int) -> np.ndarray:
    """Agglomerative clustering (Ward) of units by the pattern of their magnitudes.

    Patterns have norm 1, so that units which differ by a factor are alike.

    Args:
        behaviour: Float array (D, samples).
        cluster_size: The mean number of units in a cluster; 1 for a cluster for each unit.

    Returns:
        Int array (D,): the cluster of each unit, from 0 to ceil(D / cluster_size) - 1, numbered by
        their first units.

    Raises:
        ImportError: If scikit-learn is needed and not installed.

    Examples:
        >>> import numpy as np
        >>> from moda_keras.methods.incite.unit_clusters import cluster_units
        >>> cluster_units(np.array([[1.0, 0.0], [0.0, 3.0], [2.0, 0.0], [0.0, 1.0]]), 2).tolist()
        [0, 1, 0, 1]

    Source: INCITE, and its released code, which clusters by the weights that a neuron reads.
    """
    units = len(behaviour)
    number = -(-units // cluster_size)
    if number == units or number == 1:
        return np.arange(units) if number == units else np.zeros(units, int)
    norms = np.linalg.norm(behaviour, axis=1, keepdims=True)
    patterns = behaviour / np.where(norms > 0, norms, 1.0)
    found = import_clustering()(n_clusters=number).fit_predict(patterns)
    _, first, inverse = np.unique(found, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse.ravel()]


def import_clustering() -> Any:
    """The class `AgglomerativeClustering`; an ImportError that says how to install it."""
    try:
        from sklearn.cluster import AgglomerativeClustering
    except ImportError as error:
        raise ImportError(
            "INCITE clusters units with scikit-learn. Install it with: "
            'pip install "moda-keras[methods]", or pass cluster_size=1'
        ) from error
    return AgglomerativeClustering


def _by_unit(values: Any, axis: int) -> np.ndarray:
    """Float64 array (D, samples) of the mean magnitudes over positions."""
    magnitudes = np.abs(np.asarray(values, "float64"))
    magnitudes = np.moveaxis(magnitudes, axis, 0)
    return magnitudes.reshape(*magnitudes.shape[:2], -1).mean(axis=2)


def _share_of_padding(activation: Any) -> np.ndarray | float:
    """Float array (samples,): of the positions of each sample, 0 if there are no others."""
    if not isinstance(activation, MaskedActivation):
        return 0.0
    mask = np.asarray(activation.mask, "float64").reshape(len(activation.mask), -1)
    share = 1 - mask.mean(axis=1)
    return np.where(share < 1, share, 0.0)
