"""Everything that a report says, gathered before any of it is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from moda_keras.diagnosis import (
    CHECKS,
    Check,
    Evidence,
    Finding,
    find_signs,
)
from moda_keras.evaluation import mean_overlap, module_size, planned_flops
from moda_keras.evaluation.shared_units import shared_units, unit_shares
from moda_keras.modules.module_set import ModuleSet
from moda_keras.reporting.cost_model import CostModel, cost_model
from moda_keras.reporting.expected_accuracy import ExpectedAccuracy, expect_accuracy


@dataclass(frozen=True)
class LayerFigures:
    """A hidden activation: its units, the share of them in the mean module, and in common."""

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
        size, flops: Parameters and multiply-accumulates over the model's; NaN without a module.
        before: Accuracy of the full model on the class, all classes to choose from; or NaN.
        after: That of the model composed of all classes.
        in_pairs: That of the models composed of the class and another, their mean.
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
    """What a report says.

    Attributes:
        title: Its heading.
        modules: The modules.
        layers, classes: Figures by hidden activation and by class.
        overlap: Float array (C, C), as `module_overlap`.
        mean_overlap: Over pairs.
        costs: What compositions cost.
        accuracy: What accuracy to expect of them; None without test data.
        samples, available: How many test samples were used, of how many.
        curve: Rows of `threshold_curve`; empty if it was not measured.
        findings: The diagnosis.
        found_none, not_looked_for: Checks by what came of them.
        subtask_rows: Measured compositions.
    """

    title: str
    modules: ModuleSet
    layers: list[LayerFigures]
    classes: list[ClassFigures]
    overlap: np.ndarray
    mean_overlap: float
    costs: CostModel
    accuracy: ExpectedAccuracy | None
    samples: int
    available: int
    curve: list[dict[str, Any]]
    findings: list[Finding]
    found_none: list[Check]
    not_looked_for: list[Check]
    subtask_rows: Sequence[Mapping[str, Any]]


def gather(
    evidence: Evidence,
    title: str | None,
    available: int,
    curve: list[dict[str, Any]],
    seed: int,
) -> ReportData:
    """Measures what a report says.

    Args:
        evidence: Modules, test data and history.
        title: Heading, or None for one with the model's name.
        available: How many test samples there are, of which the evidence may hold a part.
        curve: Rows of `threshold_curve`, or none.
        seed: Seed of what is drawn at random.

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
    return ReportData(
        title=title or f"Modules of {modules.model.name}",
        modules=modules,
        layers=_layers(modules),
        classes=_classes(modules, accuracy),
        overlap=evidence.overlap,
        mean_overlap=mean_overlap(modules),
        costs=cost_model(modules, seed=seed),
        accuracy=accuracy,
        samples=len(evidence.y) if has_data else 0,
        available=available,
        curve=curve,
        findings=findings,
        found_none=[c for c in CHECKS if evidence.has(c.needs) and c.sign not in found],
        not_looked_for=[c for c in CHECKS if not evidence.has(c.needs)],
        subtask_rows=evidence.subtask_rows,
    )


def _layers(modules: ModuleSet) -> list[LayerFigures]:
    shared, shares = shared_units(modules), unit_shares(modules)
    return [
        LayerFigures(h.name, h.units, float(shares[h.name].mean()), shared[h.name])
        for h in modules.hidden_activations
    ]


def _classes(modules: ModuleSet, accuracy: ExpectedAccuracy | None) -> list[ClassFigures]:
    number, present = modules.num_classes, modules.classes_with_modules()
    nothing = np.full(number, np.nan)
    before = after = in_pairs = nothing
    if accuracy is not None:
        before = accuracy.full.accuracy_by_class(number)
        after = accuracy.together.accuracy_by_class(number)
        if accuracy.pairs is not None:
            in_pairs = accuracy.pairs.accuracy_in_pairs(present.tolist(), number)
    counts = modules.sample_counts
    columns = zip(module_size(modules), _flops(modules), before, after, in_pairs, strict=True)
    return [
        ClassFigures(
            index, modules.class_names[index], None if counts is None else int(counts[index]),
            *map(float, figures),
        )
        for index, figures in enumerate(columns)
    ]  # fmt: skip


def _flops(modules: ModuleSet) -> np.ndarray:
    """Multiply-accumulates of every module over the model's; NaN where they are not known."""
    flops = np.full(modules.num_classes, np.nan)
    try:
        full = planned_flops(modules.slicer.plan({}, np.arange(modules.num_classes)))
        for index in modules.classes_with_modules():
            plan = modules.plan([index])
            flops[index] = planned_flops(plan) / full
    except ValueError:  # the shape of the input is not fixed
        pass
    return flops
