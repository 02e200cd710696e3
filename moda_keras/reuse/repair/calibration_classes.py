"""Whether calibration data shows the classes that a model is made for."""

import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from moda_keras.graph import Graph
from moda_keras.messages import listed

# Below this share, the data is probably that of other classes.
LEAST_SHARE = 0.5
# So many batches, spread over the data, tell.
BATCHES = 8
# With fewer samples for each class, one may be missing by chance.
ENOUGH = 20


def warn_of_other_classes(
    graph: Graph, batches: Sequence[Any], chosen: np.ndarray, stacklevel: int
) -> None:
    """Warns if the original takes the samples for other classes, or none for some chosen one.

    The weights are fitted to what the original gives for these samples, whatever they show.

    Args:
        graph: The graph of the original.
        batches: For each batch the tensors of the model's inputs, in a flat list.
        chosen: Int array, the chosen classes.
        stacklevel: Of the warning.
    """
    some = batches[:: max(1, len(batches) // BATCHES)]
    found = np.concatenate([_predicted(graph, batch) for batch in some])
    share = np.isin(found, chosen).mean()
    is_enough = len(found) >= ENOUGH * len(chosen)
    absent = [int(index) for index in chosen if is_enough and not (found == index).any()]
    if share >= LEAST_SHARE and not absent:
        return
    seen = f"the model takes {share:.0%} of them for the chosen classes"
    seen += f", and none for the classes {listed(absent)}" if absent else ""
    warnings.warn(
        f"Expected `calibration_data` to be samples of the chosen classes {chosen.tolist()}. "
        f"Received: samples of which {len(found)} were looked at: {seen}. The composed model is "
        "fitted to such samples, and may be poor for others",
        stacklevel=stacklevel,
    )


def _predicted(graph: Graph, batch: Sequence[Any]) -> np.ndarray:
    outputs = graph.run(list(batch))[graph.outputs[0]]
    return keras.ops.convert_to_numpy(outputs).argmax(axis=-1)
