"""All signs, and what is found of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from moda_keras.diagnosis.accuracy import find_accuracy_loss
from moda_keras.diagnosis.epsilon import find_small_epsilon
from moda_keras.diagnosis.evidence import Evidence
from moda_keras.diagnosis.finding import Finding
from moda_keras.diagnosis.objectives import find_heavy_objectives
from moda_keras.diagnosis.overlap import find_overlap
from moda_keras.diagnosis.samples import find_few_samples
from moda_keras.diagnosis.silence import find_collapse, find_refilled_modules
from moda_keras.diagnosis.size import find_large_modules


@dataclass(frozen=True)
class Check:
    """A sign that is looked for.

    Attributes:
        sign: As in `Finding`.
        looks_for: What it is, in words.
        needs: "nothing", "counts" (of `decompose`), "test data" or "history".
        find: Gives the findings.
    """

    sign: str
    looks_for: str
    needs: str
    find: Callable[[Evidence], Iterator[Finding]]


CHECKS: tuple[Check, ...] = (
    Check(
        "accuracy",
        "composed models more than 5 points under the full model on the same classes",
        "test data",
        find_accuracy_loss,
    ),
    Check("collapse", "activations in which no unit reaches tau", "counts", find_collapse),
    Check("samples", "classes with too few training samples for tau", "counts", find_few_samples),
    Check("overlap", "modules that share more than 20 % of the weights", "nothing", find_overlap),
    Check("size", "modules of more than half of the model", "nothing", find_large_modules),
    Check(
        "refill",
        "modules filled up because too few units reach tau",
        "counts",
        find_refilled_modules,
    ),
    Check(
        "epsilon",
        "the default epsilon where activations are never zero",
        "nothing",
        find_small_epsilon,
    ),
    Check(
        "objectives",
        "objectives above the task loss at the start",
        "history",
        find_heavy_objectives,
    ),
)


def find_signs(evidence: Evidence) -> list[Finding]:
    """The findings of all checks for which there is evidence, problems first.

    Args:
        evidence: What to look in.

    Returns:
        List of `Finding`s.
    """
    found = [f for check in CHECKS if evidence.has(check.needs) for f in check.find(evidence)]
    return sorted(found, key=lambda finding: finding.severity != "problem")
