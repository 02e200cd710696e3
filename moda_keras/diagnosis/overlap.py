"""The sign of weak dispersion, or of classes that are alike: modules share much."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from moda_keras.diagnosis.evidence import Evidence
from moda_keras.diagnosis.finding import Finding
from moda_keras.diagnosis.wording import NAMED, listed, percent

# The paper's modules share 1 to 15 % of the weights (MODA, ICSE 2026, table 3).
MAX_OVERLAP = 0.20
# A pair of classes stands out if it shares this many times what pairs share in the mean.
ALIKE = 1.5


def find_overlap(evidence: Evidence) -> Iterator[Finding]:
    """Modules that share more than a fifth of the weights."""
    overlap, names = evidence.overlap, evidence.modules.class_names
    pairs = [
        (float(overlap[a, b]), f"{names[a]} and {names[b]}")
        for a, b in combinations(range(len(names)), 2)
        if np.isfinite(overlap[a, b])
    ]
    mean = float(np.mean([share for share, _ in pairs])) if pairs else 0.0
    if mean <= MAX_OVERLAP:
        return
    top = sorted(pairs, key=lambda pair: -pair[0])[:NAMED]
    are_few = top[0][0] > ALIKE * mean
    yield Finding(
        "overlap",
        "warning",
        {"overlap": mean, "highest": top[0][0], "limit": MAX_OVERLAP},
        f"Two modules share {percent(mean)} of the model's weights in the mean; most: "
        f"{listed([f'{pair} {percent(share)}' for share, pair in top])}. "
        + (
            "These stand out: the classes are alike."
            if are_few
            else "No pair stands out: dispersion is too weak, or training too short."
        ),
        (
            "Expect these classes to share much, or give the model more units to tell them apart. "
            if are_few
            else "Train longer, or with a larger `beta`. "
        )
        + "A higher tau makes modules smaller, and what they share.",
    )
