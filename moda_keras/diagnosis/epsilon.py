"""The sign of an epsilon too small: units that are never zero are all active."""

from collections.abc import Iterator

import numpy as np

from moda_keras.diagnosis.evidence import Evidence
from moda_keras.diagnosis.finding import Finding
from moda_keras.diagnosis.wording import listed, percent
from moda_keras.observing.epsilons import DEFAULT_EPSILON

# The share of an activation's units that the mean module has, if all are active always.
NEARLY_ALL_UNITS = 0.9


def find_small_epsilon(evidence: Evidence) -> Iterator[Finding]:
    """The default epsilon where activations are never zero and modules have nearly all units."""
    modules = evidence.modules
    epsilons, present = modules.epsilons or {}, modules.classes_with_modules()
    shares = {
        hidden.name: float(modules.units[hidden.name][present].mean())
        for hidden in modules.hidden_activations
        if not hidden.exact_zero and epsilons.get(hidden.name) == DEFAULT_EPSILON
    }
    crowded = {name: share for name, share in shares.items() if share >= NEARLY_ALL_UNITS}
    if not crowded:
        return
    yield Finding(
        "epsilon",
        "warning",
        {
            "activations": len(crowded),
            "share": float(np.mean(list(crowded.values()))),
            "epsilon": DEFAULT_EPSILON,
            "limit": NEARLY_ALL_UNITS,
        },
        f"{listed(list(crowded))} is never exactly zero, and with the default epsilon of "
        f"{DEFAULT_EPSILON:g} modules have {percent(np.mean(list(crowded.values())))} of its "
        "units.",
        "Choose epsilons from data: `epsilons = mk.choose_epsilons(model, x_train)`, then "
        "`mk.decompose(model, x_train, y_train, epsilon=epsilons)`.",
    )
