"""Known signs that modules are not what they could be, each with its figure and its remedy."""

from moda_keras.diagnosis.checks import CHECKS, Check, find_signs
from moda_keras.diagnosis.diagnose import diagnose
from moda_keras.diagnosis.evidence import Evidence, gather_evidence
from moda_keras.diagnosis.finding import Finding
from moda_keras.diagnosis.samples import needed_samples

__all__ = [
    "CHECKS",
    "Check",
    "Evidence",
    "Finding",
    "diagnose",
    "find_signs",
    "gather_evidence",
    "needed_samples",
]
