"""Which layers do not bear the loss of filters."""

import numpy as np

from moda_keras.methods.masked_outputs import MaskedOutputs, own_logits
from moda_keras.methods.search import SearchProblem
from moda_keras.methods.top_share import top_share


def accuracy_drops(
    problem: SearchProblem,
    outputs: MaskedOutputs,
    importance: list[np.ndarray],
    dropped: float,
    accuracy: float,
) -> np.ndarray:
    """The accuracy that is lost if every class drops its least important filters of one layer.

    The modules of all classes are whole but for that layer. A sample is of the class whose own
    module gives the largest own logit.

    Args:
        problem: Model and data.
        outputs: The masked model, with masks on all maps.
        importance: For each map a float array (C, D).
        dropped: The share of a layer's filters to drop, in (0, 1).
        accuracy: That of the whole model.

    Returns:
        Float array, one for each map.

    Source: CNNSplitter, section "sensitivity-based initialization".
    """
    classes = np.arange(problem.classes)
    whole = {each.name: np.ones((problem.classes, each.units), bool) for each in problem.maps}
    drops = []
    for hidden, values in zip(problem.maps, importance, strict=True):
        masks = whole | {hidden.name: top_share(values, 1 - dropped)}
        logits = own_logits(outputs, problem.x, masks, classes, problem.batch_size)
        drops.append(accuracy - np.mean(logits.argmax(axis=0) == problem.y))
    return np.array(drops)
