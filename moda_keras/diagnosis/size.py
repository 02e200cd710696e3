"""The sign of a training too short: modules of nearly the whole model."""

from collections.abc import Iterator

import numpy as np

from moda_keras.diagnosis.evidence import Evidence
from moda_keras.diagnosis.finding import Finding
from moda_keras.diagnosis.wording import percent
from moda_keras.evaluation import module_size

# The paper's modules have 2 to 23 % of the model; standard training leaves 24 to 67 % in small
# networks (docs/results.md).
MAX_MODULE_SIZE = 0.5


def find_large_modules(evidence: Evidence) -> Iterator[Finding]:
    """Modules of more than half of the model."""
    sizes = module_size(evidence.modules)
    mean = float(np.nanmean(sizes))
    if mean <= MAX_MODULE_SIZE:
        return
    largest = int(np.nanargmax(sizes))
    yield Finding(
        "size",
        "warning",
        {"module_size": mean, "largest": float(sizes[largest]), "limit": MAX_MODULE_SIZE},
        f"A module has {percent(mean)} of the model's parameters in the mean; the largest, "
        f"{evidence.modules.class_names[largest]}, {percent(sizes[largest])}.",
        "Train with `modular_loss`, and longer: modules go on shrinking long after accuracy has "
        "settled (60 epochs or more on a small data set). A wider network has smaller modules.",
    )
