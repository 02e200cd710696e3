"""The sign of too few samples: frequencies known too roughly for tau."""

import math
from collections.abc import Iterator

import numpy as np

from moda_keras.diagnosis.evidence import Evidence, thresholds_of
from moda_keras.diagnosis.finding import Finding
from moda_keras.diagnosis.wording import listed, percent, points

# The error (one standard deviation) that a frequency near tau may have by chance.
MAX_FREQUENCY_ERROR = 0.05


def needed_samples(threshold: float) -> int:
    """How many samples of a class the frequency of its units can be told from.

    Near tau a frequency of n samples is off by sqrt(tau (1 - tau) / n), one standard deviation, and
    it changes in steps of 1 / n, of which there must be one between tau and 1.

    Args:
        threshold: Tau, in [0, 1].

    Returns:
        Int: 36 for 0.9, 64 for 0.8, 100 for 0.5.
    """
    by_chance = threshold * (1 - threshold) / MAX_FREQUENCY_ERROR**2
    step = 1 / (1 - threshold) if threshold < 1 else 1
    return math.ceil(round(max(by_chance, step, 1), 6))


def find_few_samples(evidence: Evidence) -> Iterator[Finding]:
    """Classes with too few training samples for tau, or none."""
    modules = evidence.modules
    counts = modules.sample_counts
    tau = max(thresholds_of(modules).values(), key=needed_samples)
    if not counts.all():
        missing = [modules.class_names[index] for index in np.flatnonzero(counts == 0)]
        yield Finding(
            "samples",
            "problem",
            {"classes": len(missing), "samples": 0, "limit": 1},
            f"{listed(missing)} had no training sample: there is no module.",
            "Decompose with samples of every class; the model need not be trained again.",
        )
    limit = needed_samples(tau)
    few = np.flatnonzero((counts > 0) & (counts < limit))
    if not len(few):
        return
    few = few[np.argsort(counts[few], kind="stable")]
    least = int(counts[few[0]])
    named = listed([f"{modules.class_names[index]} ({counts[index]})" for index in few])
    error = math.sqrt(tau * (1 - tau) / least)
    yield Finding(
        "samples",
        "warning",
        {"classes": len(few), "samples": least, "error": error, "limit": limit},
        f"Few training samples: {named}. Of {least} a frequency is known in steps of "
        f"{percent(1 / least)}, and near tau = {tau:g} is off by {points(error)} points by "
        "chance (one standard deviation): which units are in the module is partly chance.",
        f"Decompose with {limit} samples of each class or more; augmented or unseen ones serve.",
    )
