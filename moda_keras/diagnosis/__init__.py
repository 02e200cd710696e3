"""Signs of modules that could be better: each with what was measured and what to do about it."""

from moda_keras.diagnosis.diagnose import diagnose, find_signs
from moda_keras.diagnosis.evidence import Evidence, gather_evidence
from moda_keras.diagnosis.finding import Check, Finding
from moda_keras.diagnosis.signs import CHECKS, needed_samples

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
