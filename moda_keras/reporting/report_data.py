"""The contents of a report, gathered before the page is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from moda_keras.diagnosis import CHECKS, Check, Evidence, Finding, find_signs
from moda_keras.evaluation import mean_overlap
from moda_keras.evaluation.shared_units import shared_units, unit_shares
from moda_keras.modules.module_set import ModuleSet
from moda_keras.reporting.composition_costs import CompositionCosts, composition_costs
from moda_keras.reporting.expected_accuracy import ExpectedAccuracy, expect_accuracy

# Measured compositions that the page holds at most, to bound its size.
MAX_MEASURED = 2000


@dataclass(frozen=True)
class LayerFigures:
    """A hidden activation.

    Attributes:
        name, units: Its name and number of units.
        mean_share: Share of the units in a module, mean over modules.
        shared: Units that two modules have in common over those that either has, mean over pairs.
    """

    name: str
    units: int
    mean_share: float
    shared: float


@dataclass(frozen=True)
class ClassFigures:
    """A class and its module.

    Attributes:
        index, name: Of the class.
        samples: Training samples that the module was found with, or None.
        size, flops: Parameters and multiply-accumulates over the model's; NaN if unknown.
        before: Accuracy of the full model on the class, choosing among all classes, or NaN.
        after: Likewise of the model composed of all classes.
        in_pairs: Of the models composed of the class and one other, mean over the others.
    """

    index: int
    name: str
    samples: int | None
    size: float
    flops: float
    before: float
    after: float
    in_pairs: float


@dataclass(frozen=True)
class ReportData:
    """The contents of a report.

    Attributes:
        title: Its heading.
        modules: The modules.
        layers, classes: Figures by hidden activation and by class.
        overlap: Float array (C, C), as `module_overlap`.
        mean_overlap: Mean over pairs.
        costs: Parameters and multiply-accumulates of composed models.
        accuracy: Expected accuracy of composed models; None without test data.
        samples, available: How many test samples were used, and how many there are.
        curve: Rows of `threshold_curve`; empty if it was not measured.
        findings: The diagnosis.
        found_none, not_looked_for: Checks that found nothing, and checks without their data.
        subtask_rows: Measured compositions.
        known_rows: Those that the page holds: all, or none if there are more than `MAX_MEASURED`.
    """

    title: str
    modules: ModuleSet
    layers: list[LayerFigures]
    classes: list[ClassFigures]
    overlap: np.ndarray
    mean_overlap: float
    costs: CompositionCosts
    accuracy: ExpectedAccuracy | None
    samples: int
    available: int
    curve: list[dict[str, Any]]
    findings: list[Finding]
    found_none: list[Check]
    not_looked_for: list[Check]
    subtask_rows: Sequence[Mapping[str, Any]]
    known_rows: Sequence[Mapping[str, Any]]


def gather(
    evidence: Evidence,
    title: str | None,
    available: int,
    curve: list[dict[str, Any]],
    seed: int,
) -> ReportData:
    """Measures the contents of a report.

    Args:
        evidence: Modules, test data and history.
        title: Heading, or None for one with the model's name.
        available: How many test samples there are; the evidence may hold fewer.
        curve: Rows of `threshold_curve`, or none.
        seed: Seed of the compositions that are drawn.

    Returns:
        A `ReportData`.
    """
    modules = evidence.modules
    findings = find_signs(evidence)
    found = {finding.sign for finding in findings}
    has_data = evidence.x is not None
    accuracy = (
        expect_accuracy(modules, evidence.x, evidence.y, evidence.subtask_rows)
        if has_data
        else None
    )
    known_rows = evidence.subtask_rows if len(evidence.subtask_rows) <= MAX_MEASURED else ()
    costs = composition_costs(modules, known_rows, seed=seed)
    return ReportData(
        title=title or f"Modules of {modules.model.name}",
        modules=modules,
        layers=_layers(modules),
        classes=_classes(modules, costs, accuracy),
        overlap=evidence.overlap,
        mean_overlap=mean_overlap(modules),
        costs=costs,
        accuracy=accuracy,
        samples=len(evidence.y) if has_data else 0,
        available=available,
        curve=curve,
        findings=findings,
        found_none=[c for c in CHECKS if evidence.has(c.needs) and c.sign not in found],
        not_looked_for=[c for c in CHECKS if not evidence.has(c.needs)],
        subtask_rows=evidence.subtask_rows,
        known_rows=known_rows,
    )


def _layers(modules: ModuleSet) -> list[LayerFigures]:
    shared, shares = shared_units(modules), unit_shares(modules)
    return [
        LayerFigures(h.name, h.units, float(shares[h.name].mean()), shared[h.name])
        for h in modules.hidden_activations
    ]


def _classes(
    modules: ModuleSet, costs: CompositionCosts, accuracy: ExpectedAccuracy | None
) -> list[ClassFigures]:
    number, present = modules.num_classes, modules.classes_with_modules()
    before = after = in_pairs = np.full(number, np.nan)
    if accuracy is not None:
        before = accuracy.full.accuracy_by_class(number)
        after = accuracy.together.accuracy_by_class(number)
        if accuracy.pairs is not None:
            in_pairs = accuracy.pairs.accuracy_in_pairs(present.tolist(), number)
    shares = np.full((2, number), np.nan)
    for index in present:
        shares[:, index] = costs.known[(int(index),)]
    shares /= [[costs.parameters], [costs.flops or np.nan]]
    counts = modules.sample_counts
    columns = zip(*shares, before, after, in_pairs, strict=True)
    return [
        ClassFigures(
            index, modules.class_names[index], None if counts is None else int(counts[index]),
            *map(float, figures),
        )
        for index, figures in enumerate(columns)
    ]  # fmt: skip
