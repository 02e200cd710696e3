"""The sign of weights too large: objectives outweigh the task loss."""

from collections.abc import Iterator

import numpy as np

from moda_keras.diagnosis.evidence import Evidence
from moda_keras.diagnosis.finding import Finding
from moda_keras.diagnosis.wording import counted
from moda_keras.training.moda_loss import MODALoss

OBJECTIVES = MODALoss.objective_names

# The first epochs, in which the task is yet to be learnt: a tenth of them.
EARLY_SHARE = 0.1


def find_heavy_objectives(evidence: Evidence) -> Iterator[Finding]:
    """Weighted objectives above the task loss in the first epochs."""
    history, weights = evidence.history, evidence.weights
    parts = np.array([np.asarray(history[name]) * weights[name] for name in OBJECTIVES])
    modular = parts.sum(axis=0)
    task = np.asarray(history.get("task_loss", np.asarray(history["loss"]) - modular))
    early = slice(max(1, round(EARLY_SHARE * len(task))))
    modular_mean, task_mean = float(modular[early].mean()), float(task[early].mean())
    if not modular_mean > task_mean:
        return
    largest = OBJECTIVES[int(parts[:, early].mean(axis=1).argmax())]
    symbol = dict(zip(OBJECTIVES, ("alpha", "beta", "gamma"), strict=True))[largest]
    yield Finding(
        "objectives",
        "warning",
        {
            "objectives": modular_mean,
            "task_loss": task_mean,
            "epochs": len(task[early]),
            "limit": task_mean,
        },
        f"In the first {counted(len(task[early]), 'epoch')} the weighted objectives "
        f"({modular_mean:.2f}) are above the task loss ({task_mean:.2f}), which is yet to be "
        f"learnt; most of it is {largest}.",
        f"Train with a smaller `{symbol}` than {weights[largest]:g}: the paper's weights are 1.0, "
        "1.0 and 0.3, for compactness per unit (`compactness='unit'`).",
    )
