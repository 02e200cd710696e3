"""Class-wise magnitude pruning as a search of one round."""

from typing import Any

from moda_keras.methods.mean_magnitude import mean_magnitudes
from moda_keras.methods.search import Search, SearchProblem
from moda_keras.methods.search_state import SearchState
from moda_keras.methods.top_share import check_share, top_share
from moda_keras.slicing.outgoing_norms import outgoing_norms


class Magnitude(Search):
    """Keeps, of each hidden activation, the share of units that are largest for a class.

    The score of a unit for class c is the mean magnitude of its activation over the samples of c,
    times the L2 norm of the weights that read it. It is a baseline: it costs one forward pass, and
    looks at each activation by itself.

    Args:
        share: In (0, 1]: the share of the units of each activation that a module keeps.
        seed: Not used: nothing is random.

    Examples:
        >>> import keras
        >>> import numpy as np
        >>> import moda_keras as mk
        >>> model = keras.Sequential([
        ...     keras.Input((2,)),
        ...     keras.layers.Dense(2, activation="relu", name="hidden"),
        ...     keras.layers.Dense(2),
        ... ])
        >>> model.set_weights([np.eye(2), np.zeros(2), np.eye(2), np.zeros(2)])
        >>> search = mk.methods.magnitude.Magnitude(share=0.5)
        >>> modules = search.decompose(model, np.eye(2), [0, 1], verbose=0)
        >>> modules.units["hidden"].tolist()
        [[True, False], [False, True]]

    Source: magnitude pruning of filters (Li et al., "Pruning Filters for Efficient ConvNets", ICLR
    2017; Hu et al., "Network Trimming", 2016), taken by class.
    """

    name = "magnitude"

    def __init__(self, share: float = 0.5, *, seed: int = 0):
        super().__init__(seed=seed)
        self.share = check_share("share", share)

    def get_config(self) -> dict[str, Any]:
        return {"share": self.share, "seed": self.seed}

    def rounds(self, problem: SearchProblem) -> int:
        return 1

    def start(self, problem: SearchProblem) -> SearchState:
        return {}

    def advance(self, problem: SearchProblem, state: SearchState, index: int) -> SearchState:
        norms = outgoing_norms(problem.slicer)
        return {name: means * norms[name] for name, means in mean_magnitudes(problem).items()}

    def units(self, problem: SearchProblem, state: SearchState) -> SearchState:
        return {name: top_share(scores, self.share) for name, scores in state.items()}
