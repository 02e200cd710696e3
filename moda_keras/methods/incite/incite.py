"""INCITE: the units whose mutation changes an output most."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from moda_keras.methods.incite.contributions import (
    change_of_logits,
    change_of_outputs,
    change_of_predictions,
    contributions,
)
from moda_keras.methods.incite.unit_clusters import (
    cluster_units,
    import_clustering,
    unit_behaviour,
)
from moda_keras.methods.masked_outputs import refuse_recurrent
from moda_keras.methods.search import Search, SearchProblem, check_positive
from moda_keras.methods.search_state import SearchState
from moda_keras.methods.top_share import check_share, top_share

CHANGES = {
    "predictions": change_of_predictions,
    "logits": change_of_logits,
    "outputs": change_of_outputs,
}
OF_CLASSES = ("predictions", "logits")


class INCITE(Search):
    """Keeps, for each output, the clusters of units whose mutation changes it most.

    A mutation multiplies the outputs of all units of a cluster by a factor. A cluster's
    contribution to an output is the change of the output, summed over mutations and samples. A
    module keeps the share of clusters with the highest contributions, in each hidden activation. A
    round is a hidden activation.

    Args:
        share: In (0, 1]: the share of the clusters of each activation that a module keeps.
        cluster_size: The mean number of units in a cluster; 1 mutates every unit by itself.
        factors: The mutations.
        task: "classification", or "regression" for models whose C outputs are numbers. Regression
            takes no labels: modules are those of outputs, and all samples count for each of them.
        change: What of a classifier counts as change: "predictions", the samples that enter or
            leave the predictions of a class; or "logits", the change of a class's logit over its
            own samples. "outputs" for regression, the change of the output.
        seed: Int >= 0, of the samples by which units are clustered.

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
        >>> search = mk.methods.incite.INCITE(0.5, cluster_size=1, task="regression")
        >>> modules = search.decompose(model, np.array([[1.0, 2.0], [2.0, 1.0]]), verbose=0)
        >>> modules.units["hidden"].tolist()
        [[True, False], [False, True]]

    Source: Ghanbari, "Decomposition of Deep Neural Networks into Modules via Mutation Analysis"
    (ISSTA 2024).
    """

    name = "incite"

    def __init__(
        self,
        share: float = 0.6,
        cluster_size: int = 10,
        *,
        factors: Sequence[float] = (1.1, 0.9, 0.0),
        task: str = "classification",
        change: str | None = None,
        seed: int = 0,
    ):
        super().__init__(seed=seed)
        check_positive(cluster_size=cluster_size)
        self.share = check_share("share", share)
        self.cluster_size = int(cluster_size)
        self.factors = _check_factors(factors)
        self.task = _check_choice("task", task, ("classification", "regression"))
        choices = OF_CLASSES if task == "classification" else ("outputs",)
        self.change = _check_choice("change", choices[0] if change is None else change, choices)
        self.needs_labels = task == "classification"

    def get_config(self) -> dict[str, Any]:
        return {
            "share": self.share,
            "cluster_size": self.cluster_size,
            "factors": list(self.factors),
            "task": self.task,
            "change": self.change,
            "seed": self.seed,
        }

    def check(self, model: Any, x: Any, y: Any = None, **arguments: Any) -> SearchProblem:
        if self.cluster_size > 1:
            import_clustering()
        problem = super().check(model, x, y, **arguments)
        refuse_recurrent(problem.slicer, [each.name for each in problem.hidden])
        return problem

    def rounds(self, problem: SearchProblem) -> int:
        return len(problem.hidden)

    def start(self, problem: SearchProblem) -> SearchState:
        if self.cluster_size == 1:
            return {f"clusters{i}": np.arange(h.units) for i, h in enumerate(problem.hidden)}
        graph, size = problem.slicer.graph, problem.batch_size
        behaviour = unit_behaviour(graph, problem.x, size, self.seed)
        return {
            f"clusters{i}": cluster_units(each, self.cluster_size)
            for i, each in enumerate(behaviour)
        }

    def advance(self, problem: SearchProblem, state: SearchState, index: int) -> SearchState:
        found = contributions(
            problem,
            problem.hidden[index].name,
            state[f"clusters{index}"],
            self.factors,
            CHANGES[self.change],
            logits=self.task == "classification",
        )
        return state | {f"contributions{index}": found}

    def units(self, problem: SearchProblem, state: SearchState) -> dict[str, np.ndarray]:
        return {
            hidden.name: top_share(state[f"contributions{i}"], self.share)[:, state[f"clusters{i}"]]
            for i, hidden in enumerate(problem.hidden)
        }


def _check_factors(factors: Any) -> tuple[float, ...]:
    values = np.asarray(factors, "float64") if isinstance(factors, (list, tuple)) else np.ones(1)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all() or (values == 1).any():
        raise ValueError(
            "Expected `factors` to be a list of finite numbers other than 1, at least one. "
            f"Received: factors={factors!r}"
        )
    return tuple(values.tolist())


def _check_choice(name: str, value: Any, choices: Sequence[str]) -> str:
    if value not in choices:
        raise ValueError(
            f"Expected `{name}` to be one of {list(choices)}. Received: {name}={value!r}"
        )
    return value
